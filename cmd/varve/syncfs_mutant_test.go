//go:build testhooks

package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/mutant"
)

// TestSyncFS_Mutants: a syncfs that does nothing, and a DESTROY that is answered at once, fail the same steps.
func TestSyncFS_Mutants(t *testing.T) {
	needSyncFS(t)
	t.Setenv("VARVE_MUTANT", string(mutant.SyncFS))
	if syncThenKill(t, "rw,syncfs", func(_ *testing.T, dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }) {
		t.Error("syncfs makes nothing durable, and nothing is lost")
	}
	t.Setenv("VARVE_MUTANT", string(mutant.UmountWaits))
	if freeAfterUmount(t) {
		t.Error("DESTROY is answered at once, and the image is free when umount(2) returns")
	}
}
