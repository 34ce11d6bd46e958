//go:build testhooks

package main

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/oracle"
)

// TestShutdown_Mutants: a daemon that goes on writing after a shutdown, or does not write what it should before, fails
// the same steps.
func TestShutdown_Mutants(t *testing.T) {
	oracle.NeedRoot(t)
	t.Setenv("VARVE_MUTANT", string(mutant.ShutdownLog))
	if kept, _ := shutdownKeeps(t, goingLogFlush); kept {
		t.Error("LOGFLUSH does not flush, and nothing is lost")
	}
	t.Setenv("VARVE_MUTANT", string(mutant.ShutdownCut))
	if _, untouched := shutdownKeeps(t, goingNoLogFlush); untouched {
		t.Error("the image is not shut, and unmounting writes nothing")
	}
}
