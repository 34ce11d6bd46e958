//go:build testhooks

package fuse

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestForget_Mutant: without counting, the first FORGET frees an inode that the kernel uses.
func TestForget_Mutant(t *testing.T) {
	f := liveFront(t)
	id := f.orphan(t)
	mutant.Switch(mutant.ForgetCount)
	defer mutant.Switch(mutant.None)
	f.Forget(id, 1)
	if s := f.stat(id); s.Ok() {
		t.Error("a FORGET of one reference of three was taken for the last, and nothing was freed")
	}
}

// TestListing_Mutant: where listings are not counted, the same steps free an inode that the kernel uses.
func TestListing_Mutant(t *testing.T) { noticed.By(t, mutant.ListingCount, "TestForget_Counts") }

// TestFsync_Mutants: where any interrupt ends an fsync, its test finds it out.
func TestFsync_Mutants(t *testing.T) { noticed.By(t, mutant.SyncSignal, "TestWire_Interrupt") }
