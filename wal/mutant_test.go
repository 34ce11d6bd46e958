//go:build testhooks

package wal

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestOpen_StaleSealMutant: a recovery that takes stale seals for damage refuses one of the prefixes.
func TestOpen_StaleSealMutant(t *testing.T) {
	mutant.Switch(mutant.StaleSeal)
	defer mutant.Switch(mutant.None)
	if states, why := staleSeals(t); why == "" {
		t.Errorf("none of %d prefixes was refused", states)
	}
}

// TestLog_Mutants: each of these is found out by the test of it.
func TestLog_Mutants(t *testing.T) {
	noticed.By(t, mutant.ForeignSeal, "TestOpen_ForeignSeal")
	noticed.By(t, mutant.LogRoom, "TestLog_NoRoom")
	noticed.By(t, mutant.WaitContext, "TestWait_Context")
}
