package mvcc

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// TestSnapshot_NeverHalfOfACommit: blocks of many shards that change together are equal in every snapshot (M1), and
// readers never wait (M2).
func TestSnapshot_NeverHalfOfACommit(t *testing.T) {
	s := mustOpen(t, Options{})
	const blocks = 40
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := uint64(0); !stop.Load(); i++ {
				mustUpdate(t, s, func(tx *Tx) error {
					for n := range block.Number(blocks) {
						if err := tx.Edit(n, merge.Add(merge.Field{Off: uint32(w * 8), Width: 8}, 1, 0, most)); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
	}
	for i := 0; i < 2000; i++ {
		if err := s.View(ctx, func(tx *Tx) error {
			first, err := tx.ReadBlock(0)
			if err != nil {
				return err
			}
			for n := range block.Number(blocks) {
				b, err := tx.ReadBlock(n)
				if err != nil {
					return err
				}
				if !bytes.Equal(b, first) {
					return fmt.Errorf("snapshot %d: block %d differs from block 0", tx.Seq(), n)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}
