//go:build testhooks

package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/mutant"
)

// TestRW_DirectSyncMutant: a daemon that does not sync such writes is found out by the same steps.
func TestRW_DirectSyncMutant(t *testing.T) {
	t.Setenv("VARVE_MUTANT", string(mutant.DirectSync))
	if directSync(t, "rw", unix.O_DSYNC, write) {
		t.Error("the write was not synced, and a crash lost nothing")
	}
}
