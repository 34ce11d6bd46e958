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

// line is where transactions wait for a block, the oldest first (M5). Whoever holds it is the only one that may commit the block.
// Lines are entered in ascending order of blocks.
type line struct {
	number block.Number
	// Guarded by the shard's lineMu.
	holder  uint64 // age
	waiters []waiter
}

type waiter struct {
	age   uint64
	grant chan struct{}
}

// errRestart asks for another attempt that waits in line first.
var errRestart = fmt.Errorf("%w: the transaction must wait in line", ErrConflict)

var errInLine = errors.New("another transaction is in line for the block")

func (a *attempts) wants(n block.Number) {
	if i, found := slices.BinarySearch(a.want, n); !found {
		a.want = slices.Insert(a.want, i, n)
	}
}

// queue waits in the line of a block that a transaction is about to touch, where the policy is to wait.
func (tx *Tx) queue(c *chain) error {
	if !tx.update || !tx.s.waitsFor(c) || tx.holds(c.number) {
		return nil
	}
	k := len(tx.lines)
	if len(tx.touched) > 0 || k > 0 && tx.lines[k-1].number > c.number {
		tx.restart = c
		return errRestart
	}
	return tx.enterLine(c.number)
}

func (tx *Tx) holds(n block.Number) bool {
	_, found := slices.BinarySearchFunc(tx.lines, n, func(l *line, n block.Number) int {
		return cmp.Compare(l.number, n)
	})
	return found
}

// enterLines waits in several lines, in ascending order.
func (tx *Tx) enterLines(ns []block.Number) error {
	for _, n := range ns {
		if err := tx.enterLine(n); err != nil {
			return err
		}
	}
	return nil
}

// enterLine waits in the line of one block, and takes a new snapshot: one with everything that was committed to it before.
func (tx *Tx) enterLine(n block.Number) error {
	s := tx.s
	if tx.age == 0 {
		tx.age = s.newAge(tx.first)
	}
	sh := s.shardOf(n)
	sh.lineMu.Lock()
	l := sh.lines[n]
	if l == nil {
		l = &line{number: n}
		sh.lines[n] = l
		s.inLine.Add(1)
	}
	if l.holder == 0 {
		l.holder = tx.age
		sh.lineMu.Unlock()
		if tx.lost >= s.opts.LostRaces {
			s.passOn(n)
		}
	} else {
		w := waiter{tx.age, make(chan struct{}, 1)}
		i, _ := slices.BinarySearchFunc(l.waiters, w.age, func(w waiter, age uint64) int {
			return int(int64(w.age - age))
		})
		l.waiters = slices.Insert(l.waiters, i, w)
		sh.lineMu.Unlock()
		tx.word.snap.Store(0) // a snapshot that waits would keep history alive for nothing
		if err := tx.await(sh, l, w); err != nil {
			return err
		}
	}
	tx.lines = append(tx.lines, l)
	tx.takeSnapshot()
	return nil
}

// passOn waits for a commit of a block that began before its line did: whoever latches the chain after this finds the line. So a transaction that has
// lost several races and is in line loses none to the block any more (M5).
func (s *Store) passOn(n block.Number) {
	if c, ok := s.index.Load(n); ok {
		c.latch.lock()
		c.latch.unlock()
	}
}

func (tx *Tx) await(sh *shard, l *line, w waiter) error {
	began := time.Now()
	ctx := tx.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	select {
	case <-w.grant:
	case <-ctx.Done():
		sh.lineMu.Lock()
		granted := l.holder == tx.age
		l.waiters = slices.DeleteFunc(l.waiters, func(o waiter) bool { return o.age == w.age })
		sh.lineMu.Unlock()
		if granted {
			tx.s.leave(l)
		}
		return ctx.Err()
	}
	waited := time.Since(began)
	tx.waited += waited
	tx.s.stats.wait(tx.s, l.number, waited)
	return nil
}

func (tx *Tx) leaveLines() {
	for _, l := range tx.lines {
		tx.s.leave(l)
	}
	tx.lines = tx.lines[:0]
}

// leave hands a line to the oldest that waits.
func (s *Store) leave(l *line) {
	sh := s.shardOf(l.number)
	sh.lineMu.Lock()
	defer sh.lineMu.Unlock()
	if len(l.waiters) == 0 {
		l.holder = 0
		delete(sh.lines, l.number)
		s.inLine.Add(-1)
		return
	}
	w := l.waiters[0]
	l.waiters = slices.Delete(l.waiters, 0, 1)
	l.holder = w.age
	w.grant <- struct{}{}
}

// lets reports whether a transaction may commit a block: nobody else holds its line.
func (s *Store) lets(age uint64, n block.Number) bool {
	if s.inLine.Load() == 0 {
		return true
	}
	sh := s.shardOf(n)
	sh.lineMu.Lock()
	defer sh.lineMu.Unlock()
	l := sh.lines[n]
	return l == nil || l.holder == age || l.holder == 0
}
