package mvcc

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// View runs a read-only transaction. What fn is given is valid until it returns.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.ViewNamed(ctx, "", fn)
}

// ViewNamed is View with a name for the snapshot, which back-pressure tells.
func (s *Store) ViewNamed(ctx context.Context, name string, fn func(*Tx) error) error {
	if s.closed.Load() {
		return ErrClosed
	}
	tx := s.begin(ctx, TxOptions{ReadOnly: true, Name: name}) // reads go on after the log has failed
	defer s.finish(tx)
	return fn(tx)
}

// Update runs fn in a transaction and commits it. Where another transaction came first it runs fn again, until it has committed, fn
// returns an error, or ctx ends. It returns when the commit is visible.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	_, err := s.UpdateWith(ctx, TxOptions{}, fn)
	return err
}

// UpdateDurable is Update that returns when the commit is durable (W1).
func (s *Store) UpdateDurable(ctx context.Context, fn func(*Tx) error) error {
	_, err := s.UpdateWith(ctx, TxOptions{Durable: true}, fn)
	return err
}

// Outcome tells about a transaction of UpdateWith.
type Outcome struct {
	Seq    block.Seq // commit sequence; 0 where there was nothing to commit
	Aborts int       // attempts that lost
	Merged bool      // an edit was run again on a newer version
	Waited time.Duration
}

// UpdateWith is Update with options, and tells the outcome.
func (s *Store) UpdateWith(ctx context.Context, o TxOptions, fn func(*Tx) error) (Outcome, error) {
	var a attempts
	for {
		if err := s.Err(); err != nil {
			return a.outcome, err
		}
		if a.yieldTo != nil {
			// Somebody older is about to commit the block. To stand behind him would make a line that never ends.
			for range queueYields {
				if s.mayCommit(a.priority, a.yieldTo.number) {
					break
				}
				runtime.Gosched()
			}
			a.yieldTo = nil
		}
		done, err := s.try(ctx, o, fn, &a)
		if done {
			return a.outcome, err
		}
	}
}

// queueYields is how often a transaction yields the processor to those that are in line.
const queueYields = 16

// attempts is what one call of Update remembers between its attempts.
type attempts struct {
	outcome  Outcome
	first    uint64 // snapshot of the first attempt, plus one
	priority uint64
	yieldTo  *chain         // whose line to let pass before the next attempt
	queues   []block.Number // lines to wait in before the next attempt, ascending
}

// try makes one attempt. done is false where it is to be made again.
func (s *Store) try(ctx context.Context, o TxOptions, fn func(*Tx) error, a *attempts) (done bool, err error) {
	if err := s.admit(ctx); err != nil {
		return true, err
	}
	tx := s.begin(ctx, o)
	defer s.finish(tx) // also if fn panics
	tx.admitted = true
	if a.first == 0 {
		a.first = uint64(tx.snap) + 1
	}
	if s.observed() {
		s.assignPriority(a)
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
		err = errRestart // whatever fn made of it: a block that it asked for is missing
	case err != nil:
		if mutant.Off(mutant.M7) {
			_ = tx.commit()
		}
		return true, err
	default:
		err = tx.commit()
	}
	a.priority = tx.priority // it may have got one in a line
	a.outcome.Waited += tx.waited
	if err == nil {
		a.outcome.Seq, a.outcome.Merged = tx.seq, tx.mergedAny
		s.stats.commit(tx)
		tx.end() // those behind it in line need not wait for the device
		return true, tx.awaitDurable()
	}
	if !errors.Is(err, ErrConflict) {
		return true, err
	}
	if errors.Is(err, errChainCap) {
		c := tx.overCap
		tx.end()
		err := s.awaitShorter(ctx, c)
		return err != nil, err
	}
	s.assignPriority(a)
	s.lostRace(tx, a)
	return false, nil
}

// assignPriority gives a transaction its age: the snapshot of its first attempt, and a number that no other one has.
func (s *Store) assignPriority(a *attempts) {
	if a.priority == 0 {
		a.priority = s.newPriority(a.first)
	}
}

// newPriority is the age of a transaction with its first snapshot, plus one. It is given when it is needed only: the counter is one cache line.
func (s *Store) newPriority(first uint64) uint64 { return first<<20 | s.priorities.Add(1)&(1<<20-1) }

// lostRace notes a lost attempt, and which lines the next one waits in (M5).
func (s *Store) lostRace(tx *Tx, a *attempts) {
	if tx.restart != nil {
		a.queueFor(tx.restart.number)
		for _, l := range tx.queues {
			a.queueFor(l.number)
		}
		return
	}
	a.outcome.Aborts++
	s.stats.abort(s, tx)
	if tx.queued && a.outcome.Aborts < s.opts.LostRaces {
		a.yieldTo = tx.loser
		return
	}
	if a.outcome.Aborts >= s.opts.LostRaces && !mutant.Off(mutant.M5) {
		if tx.loser != nil {
			a.queueFor(tx.loser.number)
		}
		for _, t := range tx.writes {
			a.queueFor(t.number)
		}
	}
}
