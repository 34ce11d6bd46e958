package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/merge"
)

// failedReads are edits from which their caller learns something about block 1 although they are no part of the
// transaction, and a change of the block with which the answer would have been another one.
var failedReads = map[string]struct {
	ask    func(tx *Tx) error
	theirs merge.Edit
}{
	"check": {func(tx *Tx) error {
		return mustFail(tx.Edit(1, merge.Check(func(b []byte) bool { return b[0] == 1 })), merge.ErrCheck)
	}, merge.Set(0, []byte{1})},
	"bounds": {func(tx *Tx) error {
		return mustFail(tx.Edit(1, merge.Add(merge.Field{Off: 8, Width: 4}, -1, 0, 10)), merge.ErrBounds)
	}, merge.Add(merge.Field{Off: 8, Width: 4}, 1, 0, 10)},
	"room": {func(tx *Tx) error {
		return mustFail(tx.Edit(1, merge.Append(merge.Field{Off: 16, Width: 4}, 20, 24, make([]byte, 8))), merge.ErrRoom)
	}, merge.Set(0, []byte{1})},
	"asserted bits": {func(tx *Tx) error {
		return mustFail(tx.Edit(1, merge.ClearBits(32, 3)), merge.ErrAsserted)
	}, merge.SetBits(32, 3)},
	"place": {func(tx *Tx) error {
		err := tx.Edit(1, merge.Append(merge.Field{Off: 40, Width: 4}, 44, 100, []byte("mine")))
		if at, ok := tx.Placed(1, 0); err == nil && (!ok || at != 44) {
			err = errors.New("placed elsewhere")
		}
		return err
	}, merge.Append(merge.Field{Off: 40, Width: 4}, 44, 100, []byte("theirs"))},
}

func mustFail(err, want error) error {
	if !errors.Is(err, want) {
		return errors.Join(errors.New("the edit did not fail as it should"), err)
	}
	return nil
}

// failedRead has one transaction ask, another one change the answer and commit, and the first then commit a change of
// block 2.
func failedRead(t *testing.T, ask func(*Tx) error, theirs merge.Edit) error {
	t.Helper()
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 16<<12)), Isolation: Serializable})
	tx, err := s.Begin(context.Background(), TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := ask(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Edit(2, set(0, 1)); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, theirs) })
	return tx.Commit()
}

// TestSerializable_FailedEdits: the failure of an edit, and the place of an append, are reads.
func TestSerializable_FailedEdits(t *testing.T) {
	for name, c := range failedReads {
		t.Run(name, func(t *testing.T) {
			if err := failedRead(t, c.ask, c.theirs); !errors.Is(err, ErrConflict) {
				t.Errorf("committed with %v, although the answer has changed", err)
			}
		})
	}
}

// TestSnapshot_Increments: increments by reading and setting lose nothing, although two writers often set equal bytes.
func TestSnapshot_Increments(t *testing.T) {
	if got := increments(t, 4, 500); got != 2000 {
		t.Errorf("the counter is %d after 2000 increments", got)
	}
}

// increments has writers increment one counter by reading and setting it, and returns it.
func increments(t *testing.T, writers, each int) uint64 {
	t.Helper()
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 16<<12)), Policy: Merge})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Update(context.Background(), func(tx *Tx) error {
					b, err := tx.ReadBlock(1)
					if err != nil {
						return err
					}
					v := binary.LittleEndian.Uint64(b) + 1
					return tx.Edit(1, merge.Set(0, binary.LittleEndian.AppendUint64(nil, v)))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var got uint64
	if err := s.View(context.Background(), func(tx *Tx) error {
		b, err := tx.ReadBlock(1)
		got = binary.LittleEndian.Uint64(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestSnapshot_EqualBytes: of two transactions that read a counter and set it to one more, the second conflicts,
// although it sets equal bytes.
func TestSnapshot_EqualBytes(t *testing.T) {
	if err := equalBytes(t); !errors.Is(err, ErrConflict) {
		t.Errorf("the second increment: %v, want a conflict", err)
	}
}

// equalBytes commits two such transactions, and returns the error of the second.
func equalBytes(t *testing.T) error {
	t.Helper()
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 16<<12)), Policy: Merge})
	a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
	mustEdit(t, a, 1, set(0, 1))
	mustEdit(t, b, 1, set(0, 1))
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	return b.Commit()
}
