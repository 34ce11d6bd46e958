package mvcc

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// View runs a read-only transaction. Bytes that fn gets are valid until it returns.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.ViewNamed(ctx, "", fn)
}

// ViewNamed is View with a name for the snapshot, which back-pressure reports.
func (s *Store) ViewNamed(ctx context.Context, name string, fn func(*Tx) error) error {
	if s.closed.Load() {
		return ErrClosed
	}
	tx := s.begin(ctx, TxOptions{ReadOnly: true, Name: name}) // reads go on after the log has failed
	defer s.finish(tx)
	return fn(tx)
}

// Update runs fn in a transaction and commits it. After a lost race it runs fn again, until it has
// committed, fn returns an error, or ctx ends. It returns when the commit is visible.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	_, err := s.UpdateWith(ctx, TxOptions{}, fn)
	return err
}

// UpdateDurable is Update that returns when the commit is durable (W1).
func (s *Store) UpdateDurable(ctx context.Context, fn func(*Tx) error) error {
	_, err := s.UpdateWith(ctx, TxOptions{Durable: true}, fn)
	return err
}

// Outcome is the result of UpdateWith.
type Outcome struct {
	Seq    block.Seq // commit sequence; 0 where there was nothing to commit
	Aborts int       // attempts that lost
	Merged bool      // an edit was run again on a newer version
	Waited time.Duration
}

// UpdateWith is Update with options, and returns the outcome.
func (s *Store) UpdateWith(ctx context.Context, o TxOptions, fn func(*Tx) error) (Outcome, error) {
	a := attempts{s: s}
	for {
		if err := s.Err(); err != nil {
			return a.outcome, err
		}
		if a.yieldTo != nil {
			// An older transaction is about to commit the block. A queue behind it would never end.
			for range queueYields {
				if s.queues.mayCommit(a.priority, a.yieldTo.number) {
					break
				}
				runtime.Gosched()
			}
			a.yieldTo = nil
		}
		done, err := a.try(ctx, o, fn)
		if done {
			return a.outcome, err
		}
	}
}

// queueYields is how often a transaction yields the processor to transactions that wait for a block before it.
const queueYields = 16

// attempts is the state that one call of Update keeps between its attempts.
type attempts struct {
	s        *Store
	outcome  Outcome
	first    uint64 // snapshot of the first attempt, plus one
	priority uint64
	yieldTo  *chain         // whose queue goes first, before the next attempt
	queues   []block.Number // to wait in before the next attempt, ascending
}

// try makes one attempt. done is false where another one must follow.
func (a *attempts) try(ctx context.Context, o TxOptions, fn func(*Tx) error) (done bool, err error) {
	s := a.s
	if err := s.pressure.admit(ctx); err != nil {
		return true, err
	}
	tx := s.begin(ctx, o)
	defer s.finish(tx) // also if fn panics
	tx.admitted = true
	if a.first == 0 {
		a.first = uint64(tx.snap) + 1
	}
	if s.events.observed() {
		a.assignPriority()
	}
	tx.priority, tx.first, tx.update, tx.lost = a.priority, a.first, true, a.outcome.Aborts
	s.stats.measure(tx)
	if len(a.queues) > 0 {
		if err := tx.joinQueues(a.queues); err != nil {
			return true, err
		}
	}
	err = fn(tx)
	switch {
	case tx.restart != nil:
		err = errRestart // also if fn returned another error: a block that it asked for is missing
	case err != nil:
		if mutant.Off(mutant.M7) {
			_ = tx.commit()
		}
		return true, err
	default:
		err = tx.commit()
	}
	a.priority = tx.priority // a queue may have given it one
	a.outcome.Waited += tx.waited
	if err == nil {
		a.outcome.Seq, a.outcome.Merged = tx.seq, tx.mergedAny
		s.stats.commit(tx)
		tx.end() // its queues go on before the device's flush
		return true, tx.awaitDurable()
	}
	if !errors.Is(err, ErrConflict) {
		return true, err
	}
	if lacksRoom(err) {
		err := tx.awaitRoom(err)
		return err != nil, err
	}
	a.assignPriority()
	a.lostRace(tx)
	return false, nil
}

// assignPriority gives a transaction its priority: the snapshot of its first attempt, and a number that no other one
// has.
func (a *attempts) assignPriority() {
	if a.priority == 0 {
		a.priority = a.s.queues.newPriority(a.first)
	}
}

// lostRace counts a lost attempt, and chooses the queues that the next one waits in (M5).
func (a *attempts) lostRace(tx *Tx) {
	if tx.restart != nil {
		a.queueFor(tx.restart.number)
		for _, q := range tx.queues {
			a.queueFor(q.number)
		}
		return
	}
	a.outcome.Aborts++
	a.s.stats.abort(a.s, tx)
	limit := a.s.opts.LostRaces
	if tx.queueHeld && a.outcome.Aborts < limit {
		a.yieldTo = tx.loser
		return
	}
	if a.outcome.Aborts >= limit && !mutant.Off(mutant.M5) {
		if tx.loser != nil {
			a.queueFor(tx.loser.number)
		}
		for _, t := range tx.writes {
			a.queueFor(t.number)
		}
	}
}
