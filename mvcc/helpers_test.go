package mvcc

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

var ctx = context.Background()

func set(off uint32, v uint64) merge.Edit {
	return merge.Set(off, binary.LittleEndian.AppendUint64(nil, v))
}

func mustUpdate(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(ctx, fn); err != nil {
		t.Fatal(err)
	}
}

func mustBegin(t testing.TB, s *Store, o TxOptions) *Tx {
	t.Helper()
	tx, err := s.Begin(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.Rollback)
	return tx
}

func mustEdit(t testing.TB, tx *Tx, n block.Number, e merge.Edit) {
	t.Helper()
	if err := tx.Edit(n, e); err != nil {
		t.Fatal(err)
	}
}

func at(t testing.TB, tx *Tx, n block.Number, off int) uint64 {
	t.Helper()
	b, err := tx.ReadBlock(n)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b[off:])
}
