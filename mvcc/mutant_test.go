//go:build testhooks

package mvcc

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
	"github.com/varvefs/varve/internal/yield"
)

// TestCommit_AfterEndMutant: a store that does not look lets such a transaction commit.
func TestCommit_AfterEndMutant(t *testing.T) {
	mutant.Switch(mutant.CommitAfterEnd)
	defer mutant.Switch(mutant.None)
	for name, end := range commitEnds {
		if err := commitAfter(t, end); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// forgetMeetsCommit has a commit come between the look at a group and its end, and reports whether the commit is
// remembered.
func forgetMeetsCommit() bool {
	var g groups
	g.init()
	g.raise(1, 5)
	yield.Set(func(point string) {
		if point == "group forget" {
			yield.Set(nil)
			g.raise(1, 9)
		}
	})
	defer yield.Set(nil)
	g.forget(5)
	last, ok := g.last.Load(1)
	return ok && last.Load() == 9
}

// TestGroups_ForgetMutant: a group is forgotten or raised, not both; without that SyncGroup would return before its
// own commit is durable.
func TestGroups_ForgetMutant(t *testing.T) {
	if !forgetMeetsCommit() {
		t.Error("a commit was forgotten")
	}
	mutant.Switch(mutant.GroupForget)
	defer mutant.Switch(mutant.None)
	if forgetMeetsCommit() {
		t.Error("the group was dropped without a look, and the commit is remembered")
	}
}

// TestReads_Mutants: where failed edits are no reads, and equal bytes stand, transactions commit on what has changed.
func TestReads_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	mutant.Switch(mutant.FailedEdit)
	for name, c := range failedReads {
		if err := failedRead(t, c.ask, c.theirs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mutant.Switch(mutant.EqualBytes)
	if err := equalBytes(t); err != nil {
		t.Errorf("the second of two sets of equal bytes: %v", err)
	}
}

// TestWait_ChainMutant: a transaction that goes on with the chain from before it waited loses the update of the
// queue's holder.
func TestWait_ChainMutant(t *testing.T) {
	mutant.Switch(mutant.WaitedChain)
	defer mutant.Switch(mutant.None)
	if got := chainDropped(t); got == 3 {
		t.Error("no update was lost")
	}
}

// TestWrites_Mutants: each of these mutants makes its test fail.
func TestWrites_Mutants(t *testing.T) {
	noticed.By(t, mutant.PanicTrace, "TestCommit_PanicUnderLatches")
	noticed.By(t, mutant.HomeRoom, "TestStore_HomeWithoutRoom")
	noticed.By(t, mutant.FreshEdit, "TestWriteNew_ThenEdit")
	noticed.By(t, mutant.EpochFits, "TestEpoch_LargeTransactions")
	noticed.By(t, mutant.FreshHome, "TestWriteHome_FormerLife")
	noticed.By(t, mutant.FailedHome, "TestCheckpoint_AfterFailedFlush")
	noticed.By(t, mutant.HomeFlush, "TestWriteHome_NativeLog")
	noticed.By(t, mutant.FreedSeen, "TestFreed_SnapshotReads")
	noticed.By(t, mutant.FormerLife, "TestWriteHome_AlmostSameAgain")
}
