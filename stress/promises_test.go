//go:build testhooks

package stress

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/mvcc"
)

// noticed says which workloads must notice that a promise is switched off, and what they say then.
type noticed struct {
	by      []string // workloads
	says    string
	policy  mvcc.Policy
	level   mvcc.Isolation
	durable bool
}

var noticers = map[mutant.Promise]noticed{
	mutant.M1: {by: []string{"readers"}, says: "differ in one snapshot"},
	mutant.M2: {by: []string{"readers"}, says: "differ in one snapshot"},
	mutant.M3: {by: []string{"hot", "registers", "guard"}},
	mutant.M4: {by: []string{"skew"}, says: "G2", level: mvcc.Serializable},
	mutant.M5: {by: []string{"registers"}, says: "it starved (M5)", policy: mvcc.Strict},
	mutant.M6: {by: []string{"zipf", "bank"}, says: "old versions are kept"},
	mutant.M7: {by: []string{"hot", "counter", "readers"}},
	mutant.M8: {by: []string{"zipf"}},

	mutant.Depends:      {by: []string{"guard"}, says: "G2"},
	mutant.EverySet:     {by: []string{"hot", "zipf", "registers", "guard", "skew"}, says: "lost-update"},
	mutant.EqualBytes:   {by: []string{"registers"}, says: "lost-update"},
	mutant.EveryExtent:  {by: []string{"inodes"}, says: "lost-update"},
	mutant.EveryWhole:   {by: []string{"inodes"}},
	mutant.MaxLowers:    {by: []string{"inodes"}, says: "has the time"},
	mutant.AddBounds:    {by: []string{"bank", "families"}},
	mutant.EveryCheck:   {by: []string{"families"}, says: "and no parent"},
	mutant.BitsAsserted: {by: []string{"bitmap"}, says: "two at a time"},
	mutant.LogZeros:     {by: []string{"hot", "families"}, says: "after a crash of the process", durable: true},
}

// TestDo_Mutants switches each promise off: the workloads that are there for it notice, and say so. Chance decides how
// often, so each has several runs.
func TestDo_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, p := range mutant.Engine {
		if _, ok := noticers[p]; !ok {
			t.Errorf("no workload notices %s", p)
		}
	}
	for p, n := range noticers {
		for _, work := range n.by {
			t.Run(string(p)+"/"+work, func(t *testing.T) {
				mutant.Switch(p)
				for run := range uint64(40) {
					rep, err := Do(context.Background(), Config{Workload: work, Writers: 24, Policy: n.policy, Isolation: n.level,
						Durable: n.durable,
						Seed:    run + 1, Duration: 5 * time.Millisecond, Record: 800})
					if err != nil {
						t.Fatal(err)
					}
					if i := slices.IndexFunc(rep.What, func(s string) bool { return strings.Contains(s, n.says) }); i >= 0 {
						t.Logf("noticed in run %d, %d lost updates: %s", run+1, rep.LostUpdates, rep.What[i])
						return
					}
				}
				t.Errorf("%s is switched off, and %s does not notice", p, work)
			})
		}
	}
}
