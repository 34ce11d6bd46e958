package mvcc

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// increment reads the first bytes of a block and sets them to one more.
func increment(tx *Tx, n block.Number) error {
	b, err := tx.ReadBlock(n)
	if err != nil {
		return err
	}
	return tx.Edit(n, merge.Set(0, binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(b)+1)))
}

// waiters is how many transactions wait in the queue of a block.
func (s *Store) waiters(n block.Number) int {
	sh := s.queues.shardOf(n)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.queues[n]; l != nil {
		return len(l.waiters)
	}
	return 0
}

// TestWait_ChainDropped: a transaction that waited sees the commit of the queue's holder, although the
// block has another chain since.
func TestWait_ChainDropped(t *testing.T) {
	if got := chainDropped(t); got != 3 {
		t.Errorf("three increments came to %d", got)
	}
}

// chainDropped has a checkpoint drop a block's chain while a transaction waits in the block's queue, and the holder
// commit to a new chain. It returns what three increments came to.
func chainDropped(t *testing.T) (got uint64) {
	s := mustOpen(t, Options{Policy: Wait})
	readAnd := func(tx *Tx, other block.Number) error { // of another block, so that the snapshot lives on in the commit
		if err := increment(tx, 3); err != nil {
			return err
		}
		_, err := tx.ReadBlock(other)
		return err
	}
	mustUpdate(t, s, func(tx *Tx) error { return increment(tx, 3) })
	var waiter sync.WaitGroup
	mustUpdate(t, s, func(tx *Tx) error {
		if err := readAnd(tx, 5); err != nil {
			return err
		}
		waiter.Go(func() {
			if err := s.Update(ctx, func(tx *Tx) error { return readAnd(tx, 7) }); err != nil {
				t.Error(err)
			}
		})
		for s.waiters(3) == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		return s.Checkpoint()
	})
	waiter.Wait()
	mustUpdate(t, s, func(tx *Tx) error {
		b, err := tx.ReadBlock(3)
		got = binary.LittleEndian.Uint64(b)
		return err
	})
	return got
}

// TestQueue_ThenWins: a transaction joins a queue while another commit of the block is on its way. It sees that
// commit, and does not lose another race (M5).
func TestQueue_ThenWins(t *testing.T) {
	var s *Store
	var other sync.WaitGroup
	inside := make(chan struct{})
	late := func(tx *Tx) error {
		tx.Sequenced(func(block.Seq) {
			close(inside)
			for s.queues.count.Load() == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			time.Sleep(5 * time.Millisecond) // time for the waiter to take its snapshot
		})
		return increment(tx, 3)
	}
	armed := false
	s = mustOpen(t, Options{Policy: Strict, LostRaces: 1, Observer: ObserverFunc(func(e Event) {
		if e.Kind == EventAbort && armed {
			armed = false
			other.Go(func() {
				if err := s.Update(ctx, late); err != nil {
					t.Error(err)
				}
			})
			<-inside
		}
	})})
	mustUpdate(t, s, func(tx *Tx) error { return increment(tx, 3) })
	out, err := s.UpdateWith(ctx, TxOptions{}, func(tx *Tx) error {
		if _, err := tx.ReadBlock(3); err != nil {
			return err
		}
		if tx.lost == 0 {
			mustUpdate(t, s, func(tx *Tx) error { return increment(tx, 3) })
			armed = true
		}
		return increment(tx, 3)
	})
	other.Wait()
	if err != nil || out.Aborts != 1 {
		t.Errorf("%v, %d lost races: it was in the queue after the first", err, out.Aborts)
	}
}

// TestQueue_ReadBlocks: a transaction that only reads a block, which others change and checkpoints drop, joins its
// queue and wins (M5).
func TestQueue_ReadBlocks(t *testing.T) {
	s := mustOpen(t, Options{LostRaces: 2, Isolation: Serializable})
	out, err := s.UpdateWith(ctx, TxOptions{}, func(tx *Tx) error {
		if err := s.Checkpoint(); err != nil {
			return err
		}
		if _, ok := s.chains.index.Load(5); ok {
			t.Error("block 5 has a chain: this tests nothing")
		}
		if _, err := tx.ReadBlock(5); err != nil {
			return err
		}
		if tx.lost < 6 && !tx.holdsQueue(5) {
			mustUpdate(t, s, func(tx *Tx) error { return increment(tx, 5) })
		}
		return increment(tx, 3)
	})
	if err != nil || out.Aborts != 2 {
		t.Errorf("%v, %d lost races: it was in the queue after the second", err, out.Aborts)
	}
}
