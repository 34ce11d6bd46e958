//go:build !race

package mvcc

import (
	"testing"

	"github.com/varvefs/varve/merge"
)

// The race detector allocates by itself: make test runs this file without it.

// TestUpdate_AllocatesNothing: the path of an uncontended commit, and of a read of the newest version.
func TestUpdate_AllocatesNothing(t *testing.T) {
	s := mustOpen(t, Options{})
	data := make([]byte, 32)
	commit := func() { mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(3, merge.Set(64, data)) }) }
	read := func() {
		if err := s.View(ctx, func(tx *Tx) error { _, err := tx.ReadBlock(3); return err }); err != nil {
			t.Fatal(err)
		}
	}
	commit()
	if n := testing.AllocsPerRun(1000, commit); n > 1 {
		t.Errorf("%v allocations a commit", n)
	}
	if n := testing.AllocsPerRun(1000, read); n > 0 {
		t.Errorf("%v allocations a read", n)
	}
}
