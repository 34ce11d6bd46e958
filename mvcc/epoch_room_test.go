package mvcc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/enginetest"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/wal"
)

// journalStore is a store of 4,096 blocks with a journal of 1,024 in its first ones, whose epochs end on demand.
func journalStore(t *testing.T, seal func(*mvcc.ClosingEpoch) error) *mvcc.Store {
	t.Helper()
	return journalStoreOn(t, blockcache.NewRAM(make([]byte, 4096*sealedBlock)), seal)
}

func journalStoreOn(t *testing.T, dev blockcache.Writable, seal func(*mvcc.ClosingEpoch) error) *mvcc.Store {
	t.Helper()
	return enginetest.Open(t, mvcc.Options{BlockSize: sealedBlock, Home: dev, Durability: mvcc.EpochJournal{
		Journal: enginetest.Journal(t, dev, sealedBlock, 0, 1024), Every: time.Hour, Seal: seal}})
}

func sealNothing(*mvcc.ClosingEpoch) error { return nil }

// editMany sets a byte in each of n blocks.
func editMany(tx *mvcc.Tx, first, n block.Number) error {
	for i := range n {
		if err := tx.Edit(first+i, merge.Set(0, []byte{1})); err != nil {
			return err
		}
	}
	return nil
}

// TestEpoch_LargeTransactions: transactions that are many blocks together never make an epoch that the journal cannot
// take, which would end the store. One that is too large by itself is refused, and leaves no trace.
func TestEpoch_LargeTransactions(t *testing.T) {
	ctx := context.Background()
	s := journalStore(t, sealNothing)
	if err := s.Update(ctx, func(tx *mvcc.Tx) error { return editMany(tx, 1024, 1100) }); !errors.Is(
		err,
		wal.ErrTooLarge,
	) {
		t.Errorf("a transaction that is larger than the journal: %v, want ErrTooLarge", err)
	}
	for _, n := range []block.Number{20, 480} { // together too many: the first must be durable before the second
		if err := s.Update(ctx, func(tx *mvcc.Tx) error { return editMany(tx, 1024+n, n) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	txs := make([]*mvcc.Tx, 9) // as many as are let in at once
	for i := range txs {
		tx, err := s.Begin(ctx, mvcc.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		txs[i] = tx
		if err := editMany(tx, block.Number(1024+200*i), 200); err != nil {
			t.Fatal(err)
		}
	}
	committed := 0
	for i, tx := range txs {
		switch err := tx.Commit(); {
		case err == nil:
			committed++
		case !errors.Is(err, mvcc.ErrConflict):
			t.Errorf("transaction %d: %v", i, err)
		}
	}
	if committed == 0 {
		t.Error("none has committed")
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatalf("after %d large transactions: %v", committed, err)
	}
	for i := range block.Number(9) {
		if err := s.Update(ctx, func(tx *mvcc.Tx) error { return editMany(tx, 1024+200*i, 200) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestEpoch_LostTransactions: a large transaction that loses against a commit which is durable already fills no epoch:
// nothing would end that, and all writers would wait for its end.
func TestEpoch_LostTransactions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := journalStore(t, sealNothing)
	runs := 0
	err := s.Update(ctx, func(tx *mvcc.Tx) error {
		if err := tx.Depend(4000, merge.Range{Len: 1}); err != nil {
			return err
		}
		if runs++; runs == 1 {
			if err := s.UpdateDurable(ctx, func(tx *mvcc.Tx) error { return editMany(tx, 4000, 1) }); err != nil {
				return err
			}
		}
		return editMany(tx, 1024, 225)
	})
	if err != nil || runs != 2 {
		t.Errorf("after %d runs: %v", runs, err)
	}
}

// TestEpoch_EndMeetsWaiting: a transaction that waits to be let in returns when the store ends.
func TestEpoch_EndMeetsWaiting(t *testing.T) {
	s := journalStore(t, sealNothing)
	waiting := make(chan error)
	for range 9 {
		tx, err := s.Begin(context.Background(), mvcc.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
	}
	go func() {
		_, err := s.Begin(context.Background(), mvcc.TxOptions{})
		waiting <- err
	}()
	select {
	case err := <-waiting:
		t.Fatalf("a tenth transaction is let in: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.Abandon()
	select {
	case err := <-waiting:
		if !errors.Is(err, mvcc.ErrClosed) {
			t.Errorf("the store has ended: %v, want ErrClosed", err)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

// TestTag_OfALoser: a transaction that conflicts leaves no trace, its tags neither (M7): the sealer would take the
// block for another one.
func TestTag_OfALoser(t *testing.T) {
	ctx := context.Background()
	tags := map[block.Number]mvcc.Tag{}
	s := journalStore(t, func(e *mvcc.ClosingEpoch) error {
		e.Blocks(func(n block.Number, tag mvcc.Tag) { tags[n] = tag })
		return nil
	})
	edit := func(tx *mvcc.Tx, n block.Number, tag mvcc.Tag) error {
		return errors.Join(tx.Edit(n, merge.Set(0, []byte{1})), tx.Tag(n, tag))
	}
	mine, theirs := mvcc.Tag{Kind: 1, Owner: 10}, mvcc.Tag{Kind: 2, Owner: 20}
	if err := s.Update(ctx, func(tx *mvcc.Tx) error { return edit(tx, 2000, mine) }); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin(ctx, mvcc.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(edit(tx, 2000, theirs), tx.Depend(2001, merge.Range{Len: 1})); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, func(tx *mvcc.Tx) error { return edit(tx, 2001, mine) }); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); !errors.Is(err, mvcc.ErrConflict) {
		t.Fatalf("what it depends on has changed: %v", err)
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if tags[2000] != mine {
		t.Errorf("block 2000 is sealed as %+v, want %+v", tags[2000], mine)
	}
}
