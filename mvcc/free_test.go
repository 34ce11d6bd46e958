package mvcc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/wal"
)

// TestFree_NotTooEarly: a freed block may be used again when its freeing is durable and no snapshot can read it (W4).
func TestFree_NotTooEarly(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.OnDemand}}})
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(9, set(0, 1)) })
	old := mustBegin(t, s, TxOptions{ReadOnly: true, Name: "old reader"})
	freed := block.Seq(0)
	mustUpdate(t, s, func(tx *Tx) error {
		tx.Free(9)
		tx.Sequenced(func(seq block.Seq) { freed = seq })
		return tx.Edit(1, set(0, 1))
	})
	if s.Reusable(freed) {
		t.Error("reusable before its freeing is durable")
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Reusable(freed) {
		t.Error("reusable while a snapshot reads it")
	}
	if seq, by, ok := s.OldestSnapshot(); !ok || seq >= freed || by != "old reader" {
		t.Errorf("the oldest snapshot is %d of %q, %v", seq, by, ok)
	}
	old.Rollback()
	if !s.Reusable(freed) || s.Reusable(freed+1) {
		t.Error("never reusable")
	}
	data := bytes.Repeat([]byte{7}, 4096)
	mustUpdate(t, s, func(tx *Tx) error { return errors.Join(tx.WriteNew(9, data), tx.Edit(1, set(0, 2))) })
	if v := counterOf(t, s, 9); v != 0x0707070707070707 {
		t.Errorf("the new contents are %x", v)
	}
}
