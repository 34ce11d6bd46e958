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
		if a.behind != nil {
			// Somebody older is about to commit the block. To stand behind him would make a line that never ends.
			for range letPass {
				if s.lets(a.age, a.behind.number) {
					break
				}
				runtime.Gosched()
			}
			a.behind = nil
		}
		done, err := s.try(ctx, o, fn, &a)
		if done {
			return a.outcome, err
		}
	}
}

// letPass is how often a transaction yields the processor to those that are in line.
const letPass = 16

// attempts is what one call of Update remembers between its attempts.
type attempts struct {
	outcome Outcome
	first   uint64 // snapshot of the first attempt, plus one
	age     uint64
	behind  *chain         // whose line to let pass before the next attempt
	want    []block.Number // lines to wait in before the next attempt, ascending
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
	if s.telling() {
		s.grow(a)
	}
	tx.age, tx.first, tx.update, tx.lost = a.age, a.first, true, a.outcome.Aborts
	s.stats.measure(tx)
	if len(a.want) > 0 {
		if err := tx.enterLines(a.want); err != nil {
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
	a.age = tx.age // it may have got one in a line
	a.outcome.Waited += tx.waited
	if err == nil {
		a.outcome.Seq, a.outcome.Merged = tx.seq, tx.mergedAny
		s.stats.commit(tx)
		tx.end() // those behind it in line need not wait for the device
		return true, tx.settleDurable()
	}
	if !errors.Is(err, ErrConflict) {
		return true, err
	}
	if errors.Is(err, errLong) {
		c := tx.long
		tx.end()
		err := s.shorter(ctx, c)
		return err != nil, err
	}
	s.grow(a)
	s.lostRace(tx, a)
	return false, nil
}

// grow gives a transaction its age: the snapshot of its first attempt, and a number that no other one has.
func (s *Store) grow(a *attempts) {
	if a.age == 0 {
		a.age = s.newAge(a.first)
	}
}

// newAge is the age of a transaction with its first snapshot, plus one. It is given when it is needed only: the counter is one cache line.
func (s *Store) newAge(first uint64) uint64 { return first<<20 | s.ages.Add(1)&(1<<20-1) }

// lostRace notes a lost attempt, and which lines the next one waits in (M5).
func (s *Store) lostRace(tx *Tx, a *attempts) {
	if tx.restart != nil {
		a.wants(tx.restart.number)
		for _, l := range tx.lines {
			a.wants(l.number)
		}
		return
	}
	a.outcome.Aborts++
	s.stats.abort(s, tx)
	if tx.needLine && a.outcome.Aborts < s.opts.LostRaces {
		a.behind = tx.loser
		return
	}
	if a.outcome.Aborts >= s.opts.LostRaces && !mutant.Off(mutant.M5) {
		if tx.loser != nil {
			a.wants(tx.loser.number)
		}
		for _, t := range tx.writes {
			a.wants(t.number)
		}
	}
}
