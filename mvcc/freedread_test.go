package mvcc_test

import (
	"context"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// TestFreed_SnapshotReads: a block that is freed before it has come home stays what it was to a snapshot from before
// the freeing: when that is durable, and after a checkpoint (M8). When the snapshot ends, nothing is kept.
func TestFreed_SnapshotReads(t *testing.T) {
	ctx := context.Background()
	s := sealedStore(t, &hooked{Writable: blockcache.NewRAM(make([]byte, 1<<20))}, time.Hour)
	update := func(do func(tx *mvcc.Tx) error) {
		t.Helper()
		if err := s.Update(ctx, do); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint := func() {
		t.Helper()
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	set := func(n block.Number, v byte) func(tx *mvcc.Tx) error {
		return func(tx *mvcc.Tx) error { return tx.Edit(n, merge.Set(10, []byte{v})) }
	}
	update(set(9, 7))
	olds := make([]*mvcc.Tx, 3)
	for i := range olds {
		old, err := s.Begin(ctx, mvcc.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Rollback()
		olds[i] = old
	}
	check := func(when string, old *mvcc.Tx) {
		t.Helper()
		if p, err := old.ReadBlock(9); err != nil || p[10] != 7 {
			t.Errorf("%s, a snapshot from before the freeing reads %d, %v; the block had 7", when, p[10], err)
		}
		old.Rollback()
	}
	update(func(tx *mvcc.Tx) error { tx.Free(9); return set(1, 1)(tx) })
	check("when the freeing is durable", olds[0])
	checkpoint()
	check("after a checkpoint", olds[1])
	update(set(2, 1))
	checkpoint()
	check("after another one", olds[2])
	checkpoint()
	s.Collect()
	if n := s.Stats().Chains; n != 0 {
		t.Errorf("%d chains are kept", n)
	}
}
