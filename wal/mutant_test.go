//go:build testhooks

package wal

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestOpen_StaleEndMutant: a recovery that takes stale end records for damage refuses one of the prefixes.
func TestOpen_StaleEndMutant(t *testing.T) {
	mutant.Switch(mutant.StaleEnd)
	defer mutant.Switch(mutant.None)
	if states, why := staleEnds(t); why == "" {
		t.Errorf("none of %d prefixes was refused", states)
	}
}

// TestLog_Mutants: each of these mutants makes its test fail.
func TestLog_Mutants(t *testing.T) {
	noticed.By(t, mutant.ForeignEnd, "TestOpen_ForeignEnd")
	noticed.By(t, mutant.RottedSlot, "TestOpen_RotAfterReopening")
	noticed.By(t, mutant.ClosingMark, "TestOpen_Rot")
	noticed.By(t, mutant.LogRoom, "TestLog_NoRoom")
	noticed.By(t, mutant.SpareRoom, "TestOpen_AllPlacesUsed")
	noticed.By(t, mutant.RecoveryFlush, "TestOpen_UnflushedLog")
	noticed.By(t, mutant.WaitContext, "TestWait_Context")
}
