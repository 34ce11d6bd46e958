package mvcc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// waitQueue is where transactions wait for a block, the oldest first (M5). Whoever holds it is the only one that may commit the block.
// Lines are entered in ascending order of blocks.
type waitQueue struct {
	number block.Number
	// Guarded by the shard's lineMu.
	holder  uint64 // age
	waiters []waiter
}

type waiter struct {
	priority uint64
	grant    chan struct{}
}

// errRestart asks for another attempt that waits in line first.
var errRestart = fmt.Errorf("%w: the transaction must wait in line", ErrConflict)

var errQueued = errors.New("another transaction is in line for the block")

func (a *attempts) queueFor(n block.Number) {
	if i, found := slices.BinarySearch(a.queues, n); !found {
		a.queues = slices.Insert(a.queues, i, n)
	}
}

// waitTurn waits in the line of a block that a transaction is about to touch, where the policy is to wait.
func (tx *Tx) waitTurn(c *chain) error {
	if !tx.update || !tx.s.waitsFor(c) || tx.holdsQueue(c.number) {
		return nil
	}
	k := len(tx.queues)
	if len(tx.touched) > 0 || k > 0 && tx.queues[k-1].number > c.number {
		tx.restart = c
		return errRestart
	}
	return tx.joinQueue(c.number)
}

func (tx *Tx) holdsQueue(n block.Number) bool {
	_, found := slices.BinarySearchFunc(tx.queues, n, func(l *waitQueue, n block.Number) int {
		return cmp.Compare(l.number, n)
	})
	return found
}

// joinQueues waits in several lines, in ascending order.
func (tx *Tx) joinQueues(ns []block.Number) error {
	for _, n := range ns {
		if err := tx.joinQueue(n); err != nil {
			return err
		}
	}
	return nil
}

// joinQueue waits in the line of one block, and takes a new snapshot: one with everything that was committed to it before.
func (tx *Tx) joinQueue(n block.Number) error {
	s := tx.s
	if tx.priority == 0 {
		tx.priority = s.newPriority(tx.first)
	}
	sh := s.shardOf(n)
	sh.queueMu.Lock()
	l := sh.queues[n]
	if l == nil {
		l = &waitQueue{number: n}
		sh.queues[n] = l
		s.queueCount.Add(1)
	}
	if l.holder == 0 {
		l.holder = tx.priority
		sh.queueMu.Unlock()
		if tx.lost >= s.opts.LostRaces {
			s.awaitCommit(n)
		}
	} else {
		w := waiter{tx.priority, make(chan struct{}, 1)}
		i, _ := slices.BinarySearchFunc(l.waiters, w.priority, func(w waiter, age uint64) int {
			return int(int64(w.priority - age))
		})
		l.waiters = slices.Insert(l.waiters, i, w)
		sh.queueMu.Unlock()
		tx.slot.snap.Store(0) // a snapshot that waits would keep history alive for nothing
		if err := tx.await(sh, l, w); err != nil {
			return err
		}
	}
	tx.queues = append(tx.queues, l)
	tx.takeSnapshot()
	return nil
}

// awaitCommit waits for a commit of a block that began before its line did: whoever latches the chain after this finds the line. So a transaction that has
// lost several races and is in line loses none to the block any more (M5).
func (s *Store) awaitCommit(n block.Number) {
	if c, ok := s.index.Load(n); ok {
		c.latch.lock()
		c.latch.unlock()
	}
}

func (tx *Tx) await(sh *shard, l *waitQueue, w waiter) error {
	began := time.Now()
	ctx := tx.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	select {
	case <-w.grant:
	case <-ctx.Done():
		sh.queueMu.Lock()
		granted := l.holder == tx.priority
		l.waiters = slices.DeleteFunc(l.waiters, func(o waiter) bool { return o.priority == w.priority })
		sh.queueMu.Unlock()
		if granted {
			tx.s.leaveQueue(l)
		}
		return ctx.Err()
	}
	waited := time.Since(began)
	tx.waited += waited
	tx.s.stats.wait(tx.s, l.number, waited)
	return nil
}

func (tx *Tx) leaveQueues() {
	for _, l := range tx.queues {
		tx.s.leaveQueue(l)
	}
	tx.queues = tx.queues[:0]
}

// leaveQueue hands a line to the oldest that waits.
func (s *Store) leaveQueue(l *waitQueue) {
	sh := s.shardOf(l.number)
	sh.queueMu.Lock()
	defer sh.queueMu.Unlock()
	if len(l.waiters) == 0 {
		l.holder = 0
		delete(sh.queues, l.number)
		s.queueCount.Add(-1)
		return
	}
	w := l.waiters[0]
	l.waiters = slices.Delete(l.waiters, 0, 1)
	l.holder = w.priority
	w.grant <- struct{}{}
}

// mayCommit reports whether a transaction may commit a block: nobody else holds its line.
func (s *Store) mayCommit(age uint64, n block.Number) bool {
	if s.queueCount.Load() == 0 {
		return true
	}
	sh := s.shardOf(n)
	sh.queueMu.Lock()
	defer sh.queueMu.Unlock()
	l := sh.queues[n]
	return l == nil || l.holder == age || l.holder == 0
}
