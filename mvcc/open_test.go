package mvcc

import (
	"errors"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

// TestOpen_Refuses: options that make no store.
func TestOpen_Refuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no home":    {BlockSize: 4096},
		"block size": {BlockSize: 1000, Home: blockcache.NewRAM(make([]byte, 1<<16))},
		"tiny":       {BlockSize: 4096, Home: blockcache.NewRAM(make([]byte, 100))},
	} {
		if _, _, err := Open(o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestOpen_BlockSizes: every size of a block, through a merge and a recovery.
func TestOpen_BlockSizes(t *testing.T) {
	for size := block.MinSize; size <= block.MaxSize; size *= 2 {
		home, log := blockcache.NewRAM(make([]byte, 8*int(size))), blockcache.NewRAM(nil)
		s := mustOpen(t, Options{BlockSize: size, Home: home, Durability: NativeLog{Device: log}})
		a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
		mustEdit(t, a, 7, set(0, 1))
		mustEdit(t, b, 7, set(uint32(size)-8, 2))
		if err := errors.Join(a.Commit(), b.Commit(), s.Sync(ctx)); err != nil {
			t.Fatal(err)
		}
		s.Abandon()
		s = mustOpen(t, Options{BlockSize: size, Home: home, Durability: NativeLog{Device: log}})
		if err := s.View(ctx, func(tx *Tx) error {
			if at(t, tx, 7, 0) != 1 || at(t, tx, 7, int(size)-8) != 2 {
				t.Errorf("%d-byte blocks lost an edit", size)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
