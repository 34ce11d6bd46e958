package mvcc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// TestCommit_TooLarge: a transaction that no segment of the log takes is refused, and the store goes on.
func TestCommit_TooLarge(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{SegmentSize: 16 << 10}}})
	err := s.Update(ctx, func(tx *Tx) error {
		for n := range block.Number(5) {
			if err := tx.Edit(n, merge.Whole(bytes.Repeat([]byte{1}, 4096))); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, set(8, 1)) })
	if v := counterOf(t, s, 1); v != 0 {
		t.Errorf("a part of it stayed: %x", v)
	}
}

// TestEdit_Refuses: an edit that cannot be applied is an error, and the others of its transaction stand.
func TestEdit_Refuses(t *testing.T) {
	s := mustOpen(t, Options{})
	tx := mustBegin(t, s, TxOptions{})
	mustEdit(t, tx, 1, set(0, 5))
	half := merge.Reapply(func(b []byte) error { b[100] = 1; return merge.ErrRoom })
	for _, e := range []merge.Edit{merge.Set(4090, make([]byte, 9)), merge.Add(field, -6, 0, most), merge.ClearBits(64, 1),
		half} {
		if err := tx.Edit(1, e); err == nil {
			t.Errorf("%v was taken", e.Kind())
		}
	}
	if err := tx.Edit(5000, set(0, 1)); !errors.Is(err, ErrNoBlock) {
		t.Errorf("got %v", err)
	}
	if b, _ := tx.ReadBlock(1); b[100] != 0 || b[0] != 5 {
		t.Error("a refused edit can be seen")
	}
	ro := mustBegin(t, s, TxOptions{ReadOnly: true})
	if err := ro.Edit(1, set(0, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if v := counterOf(t, s, 1); v != 5 {
		t.Errorf("%d", v)
	}
}

// TestAppend_Placed: Placed is where an append landed, once it has committed.
func TestAppend_Placed(t *testing.T) {
	s := mustOpen(t, Options{})
	used := merge.Field{Off: 0, Width: 4}
	a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
	mustEdit(t, a, 1, merge.Append(used, 16, 4096, []byte("abc")))
	mustEdit(t, b, 1, merge.Append(used, 16, 4096, []byte("de")))
	var placed uint32
	b.OnCommit(func() { placed, _ = b.Placed(1, 0) })
	if err := errors.Join(a.Commit(), b.Commit()); err != nil {
		t.Fatal(err)
	}
	if placed != 19 {
		t.Errorf("placed at %d", placed)
	}
	if v := counterOf(t, s, 1); uint32(v) != 5 {
		t.Errorf("%d bytes in use", v)
	}
}
