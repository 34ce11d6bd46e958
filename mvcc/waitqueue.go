package mvcc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// waitQueue is where transactions wait for a block, the oldest first (M5). Its holder is the only transaction that may
// commit the block. A transaction joins queues in ascending order of blocks.
type waitQueue struct {
	number block.Number
	// Guarded by the mutex of the queue's shard.
	holder  uint64 // priority; 0: free
	waiters []waiter
}

type waiter struct {
	priority uint64
	grant    chan struct{}
}

// waitQueues holds the wait queues of a store, and gives transactions their priorities.
type waitQueues struct {
	count      atomic.Int64 // queues that exist: commits look no further where there is none
	priorities atomic.Uint64
	shards     [shardCount]queueShard
}

type queueShard struct {
	mu     sync.Mutex
	queues map[block.Number]*waitQueue // guarded by mu
	_      [48]byte
}

func (w *waitQueues) init() {
	for i := range w.shards {
		w.shards[i].queues = map[block.Number]*waitQueue{}
	}
}

func (w *waitQueues) shardOf(n block.Number) *queueShard { return &w.shards[shardIndex(n)] }

// newPriority is the priority of a transaction with its first snapshot, plus one. A transaction gets one when it needs
// it only: the counter is one cache line.
func (w *waitQueues) newPriority(first uint64) uint64 {
	return first<<20 | w.priorities.Add(1)&(1<<20-1)
}

// mayCommit reports whether a transaction may commit a block: no other one holds its queue.
func (w *waitQueues) mayCommit(priority uint64, n block.Number) bool {
	if w.count.Load() == 0 {
		return true
	}
	sh := w.shardOf(n)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	q := sh.queues[n]
	return q == nil || q.holder == priority || q.holder == 0
}

// join makes a transaction the holder of a block's queue, or returns what it has to wait for.
func (w *waitQueues) join(n block.Number, priority uint64) (q *waitQueue, grant chan struct{}) {
	sh := w.shardOf(n)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if q = sh.queues[n]; q == nil {
		q = &waitQueue{number: n}
		sh.queues[n] = q
		w.count.Add(1)
	}
	if q.holder == 0 {
		q.holder = priority
		return q, nil
	}
	mine := waiter{priority, make(chan struct{}, 1)}
	i, _ := slices.BinarySearchFunc(q.waiters, priority, func(o waiter, p uint64) int {
		return int(int64(o.priority - p))
	})
	q.waiters = slices.Insert(q.waiters, i, mine)
	return q, mine.grant
}

// abort takes a waiter whose context has ended out of a queue.
func (w *waitQueues) abort(q *waitQueue, priority uint64) {
	sh := w.shardOf(q.number)
	sh.mu.Lock()
	granted := q.holder == priority
	q.waiters = slices.DeleteFunc(q.waiters, func(o waiter) bool { return o.priority == priority })
	sh.mu.Unlock()
	if granted {
		w.leave(q)
	}
}

// leave hands a queue to its oldest waiter.
func (w *waitQueues) leave(q *waitQueue) {
	sh := w.shardOf(q.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if len(q.waiters) == 0 {
		q.holder = 0
		delete(sh.queues, q.number)
		w.count.Add(-1)
		return
	}
	next := q.waiters[0]
	q.waiters = slices.Delete(q.waiters, 0, 1)
	q.holder = next.priority
	next.grant <- struct{}{}
}

// errRestart asks for another attempt that waits in a queue first.
var errRestart = fmt.Errorf("%w: the transaction must wait in a queue", ErrConflict)

// errQueued: a block that is written has a queue, and another transaction holds it.
var errQueued = errors.New("another transaction holds the wait queue of the block")

// waitInQueue waits in the queue of a block that a transaction is about to touch, where the policy is to wait.
func (tx *Tx) waitInQueue(c *chain) error {
	if !tx.update || tx.s.opts.Policy.of(c) != Wait || tx.holdsQueue(c.number) {
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
	_, found := slices.BinarySearchFunc(tx.queues, n, func(q *waitQueue, n block.Number) int {
		return cmp.Compare(q.number, n)
	})
	return found
}

// joinQueues waits in several queues, in ascending order.
func (tx *Tx) joinQueues(ns []block.Number) error {
	for _, n := range ns {
		if err := tx.joinQueue(n); err != nil {
			return err
		}
	}
	return nil
}

// joinQueue waits in the queue of one block, and takes a new snapshot: one with everything that was committed to the
// block before.
func (tx *Tx) joinQueue(n block.Number) error {
	s := tx.s
	if tx.priority == 0 {
		tx.priority = s.queues.newPriority(tx.first)
	}
	q, grant := s.queues.join(n, tx.priority)
	switch {
	case grant != nil:
		tx.slot.snap.Store(0) // a snapshot that waits would keep history alive for nothing
		if err := tx.awaitGrant(q, grant); err != nil {
			return err
		}
	case tx.lost >= s.opts.LostRaces:
		// After this the transaction loses no more races for the block (M5).
		s.chains.awaitCommit(n)
	}
	tx.queues = append(tx.queues, q)
	tx.takeSnapshot()
	return nil
}

func (tx *Tx) awaitGrant(q *waitQueue, grant chan struct{}) error {
	began := time.Now()
	ctx := orBackground(tx.ctx)
	select {
	case <-grant:
	case <-ctx.Done():
		tx.s.queues.abort(q, tx.priority)
		return ctx.Err()
	}
	waited := time.Since(began)
	tx.waited += waited
	tx.s.stats.wait(&tx.s.chains, q.number, waited)
	return nil
}

func (tx *Tx) leaveQueues() {
	for _, q := range tx.queues {
		tx.s.queues.leave(q)
	}
	tx.queues = tx.queues[:0]
}

// queueFor adds a queue for the next attempt to wait in.
func (a *attempts) queueFor(n block.Number) {
	if i, found := slices.BinarySearch(a.queues, n); !found {
		a.queues = slices.Insert(a.queues, i, n)
	}
}
