package mvcc

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// TestLosses_Formulas holds the formulas to what docs/design.md says, and adaptive to the least of them.
func TestLosses_Formulas(t *testing.T) {
	l := Losses{ConflictRate: 0.5, MergeSuccess: 0.75, AbortCost: 8e-6, MergeCost: 2e-6}
	l.Expect()
	near := func(name string, got, want float64) {
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	near("strict", l.Strict, 0.5*8e-6)
	near("merge", l.Merge, 0.5*(0.25*8e-6+2e-6))
	near("adaptive", l.Of(Adaptive), min(l.Strict, l.Merge, l.Wait))
	if l.Wait <= 0 {
		t.Error("waiting costs nothing")
	}
}

// TestChoose_KeepsWhatIsFaster: a trial that was slower is undone and comes again later; one that was faster stays;
// noise changes nothing.
func TestChoose_KeepsWhatIsFaster(t *testing.T) {
	c := &contention{every: firstWait}
	c.losses.ConflictRate = 0.9
	c.pace = [3]float64{10e-6, 0, 0}
	if got := c.choose(Merge, firstWait/2); got != Merge {
		t.Errorf("tried %v too early", got)
	}
	try := c.choose(Merge, firstWait)
	if try == Merge || !c.trying {
		t.Fatal("no trial")
	}
	c.pace[try] = 9e-6 // a tenth faster is noise
	if got := c.choose(try, trialTime); got != Merge || c.every != 2*firstWait {
		t.Errorf("after a trial that gained little: %v, next after %v", got, c.every)
	}
	try = c.choose(Merge, c.every)
	c.pace[try] = 5e-6
	if got := c.choose(try, trialTime); got != try || c.home != try {
		t.Errorf("after a trial that was twice as fast: %v", got)
	}
	quiet := &contention{every: firstWait, pace: [3]float64{1e-6}}
	if got := quiet.choose(Merge, time.Hour); got != Merge {
		t.Errorf("tried %v without conflicts", got)
	}
}

// TestAdaptive_TellsSwitches: each switch is an event with its inputs.
func TestAdaptive_TellsSwitches(t *testing.T) {
	var switches atomic.Int64
	var wrong atomic.Int64
	s := mustOpen(t, Options{Policy: Adaptive, Observer: ObserverFunc(func(e Event) {
		if e.Kind != EventPolicy {
			return
		}
		switches.Add(1)
		if e.Inputs == nil || e.Policy == "" || e.Outcome == e.Policy {
			wrong.Add(1)
		}
	})})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for !stop.Load() {
				mustUpdate(t, s, func(tx *Tx) error { // nothing of this merges
					v := at(t, tx, 1, 0)
					if err := tx.Depend(1, merge.Range{Off: 0, Len: 8}); err != nil {
						return err
					}
					time.Sleep(20 * time.Microsecond)
					return tx.Edit(1, set(0, v+1))
				})
			}
		})
	}
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		if switches.Load() > 0 {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if switches.Load() == 0 || wrong.Load() > 0 {
		t.Errorf("%d switches, %d of them without inputs", switches.Load(), wrong.Load())
	}
	if v := counterOf(t, s, 1); v != uint64(s.Stats().Commits) {
		t.Errorf("%d after %d commits", v, s.Stats().Commits)
	}
}

// TestTopK_FindsTheHot: the sketch is bounded, and knows the blocks with most conflicts.
func TestTopK_FindsTheHot(t *testing.T) {
	var k topK
	k.init()
	for i := range 400_000 {
		n := block.Number(1000 + i%5000)
		if i%4 == 0 {
			n = block.Number(i / 4 % 3) // three blocks have a quarter of all
		}
		k.touch(n)
	}
	list := k.list()
	if len(list) > topSize {
		t.Fatalf("%d blocks are kept", len(list))
	}
	for _, h := range list[:3] {
		if h.Block > 2 {
			t.Errorf("block %d is among the first three: %+v", h.Block, list[:4])
		}
	}
}

// TestLogPolicies: with Always every commit is durable when Update returns; with Interval soon; on demand when asked
// for (W1).
func TestLogPolicies(t *testing.T) {
	write := func(s *Store) {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Add(field, 1, 0, most)) })
	}
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.Always}}})
	for range 3 {
		write(s)
		if s.Durable() != s.Published() {
			t.Errorf("always: durable to %d of %d", s.Durable(), s.Published())
		}
	}
	s = mustOpen(
		t,
		Options{Durability: NativeLog{Options: wal.Options{Policy: wal.Interval, Every: 5 * time.Millisecond}}},
	)
	write(s)
	for range 12_000 {
		if s.Durable() == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if s.Durable() != 1 {
		t.Error("interval: never durable")
	}
	s = mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.OnDemand}}})
	write(s)
	time.Sleep(30 * time.Millisecond)
	if s.Durable() != 0 {
		t.Error("on demand: durable without a demand")
	}
}

// TestWithoutLog: a store without a log works, and is home when it is closed.
func TestWithoutLog(t *testing.T) {
	home := blockcache.NewRAM(make([]byte, 64<<12))
	s, _, err := Open(Options{BlockSize: 4096, Home: home})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(3, set(8, 42)) })
	if err := errors.Join(s.Check(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if home.Bytes()[3*4096+8] != 42 {
		t.Error("it did not come home")
	}
	if err := s.Update(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("an update of a closed store: %v", err)
	}
}

// TestParsePolicy_Names: each policy is found by the name that it prints, and no other name is one.
func TestParsePolicy_Names(t *testing.T) {
	for _, p := range []Policy{Merge, Strict, Wait, Adaptive} {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	for _, name := range []string{"", "Merge", "merge ", "never"} {
		if _, err := ParsePolicy(name); err == nil || !strings.Contains(err.Error(), "merge, strict, wait and adaptive") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
