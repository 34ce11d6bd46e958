package stress

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// TestDo_Workloads runs each workload under each policy, with every check.
func TestDo_Workloads(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, work := range Workloads() {
		for _, p := range []mvcc.Policy{mvcc.Strict, mvcc.Merge, mvcc.Wait, mvcc.Adaptive} {
			t.Run(work+"/"+p.String(), func(t *testing.T) {
				level := mvcc.Isolation(p & 1)
				rep, err := Do(context.Background(), Config{Workload: work, Writers: 24, Policy: p, Isolation: level, Seed: seed,
					Duration: 20 * time.Millisecond, Record: 1000})
				if err != nil || !rep.Passed() || (rep.Commits == 0 && rep.Recorded == 0) { // a busy machine may measure none
					t.Errorf(
						"%d commits, %v, %v; repeat with: varve stress --workload %s --policy %v --isolation %v --writers 24 --seed %d",
						rep.Commits, err, rep.What, work, p, level, seed)
				}
				t.Logf("%.0f/s, conflicts %.3f merges %.3f aborts %.3f waits %.3f fair %.2f wal %.0f skews %d recorded %d",
					rep.CommitsPerSecond, rep.ConflictRate, rep.MergeRate, rep.AbortRate,
					rep.WaitRate, rep.Fairness, rep.WALBytesPerCommit, rep.WriteSkews, rep.Recorded)
			})
		}
	}
	fmt.Println("seed", seed)
}

// TestDo_Durable runs each workload durably. At its end the store ends as a crash of the process would end it, is
// opened from its log, and compared; then the same with an orderly end.
func TestDo_Durable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, work := range Workloads() {
		rep, err := Do(context.Background(), Config{Workload: work, Writers: 32, Policy: mvcc.Merge, Durable: true,
			Seed: seed, Duration: 20 * time.Millisecond, Record: 500})
		if err != nil || !rep.Passed() || (rep.Commits == 0 && rep.Recorded == 0) || rep.Reopened != 2 {
			t.Errorf("%d commits, opened again %d times, %v, %v; repeat with: "+
				"varve stress --durable --workload %s --policy merge --writers 32 --seed %d",
				rep.Commits, rep.Reopened, err, rep.What, work, seed)
		}
	}
}
