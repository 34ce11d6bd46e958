package mvcc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// TestCommit_FirstWins: a set of the same bytes conflicts, under every policy; what a proof lets stand stands where
// the policy merges (M3).
func TestCommit_FirstWins(t *testing.T) {
	for _, p := range []Policy{Strict, Merge, Adaptive} {
		s := mustOpen(t, Options{Policy: p})
		a, b, c := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
		mustEdit(t, a, 1, set(0, 1))
		mustEdit(t, b, 1, set(0, 2))
		mustEdit(t, c, 1, set(8, 3))
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); !errors.Is(err, ErrConflict) {
			t.Errorf("%v: a second set committed: %v", p, err)
		}
		if err := c.Commit(); errors.Is(err, ErrConflict) != (p == Strict) {
			t.Errorf("%v: a disjoint set: %v", p, err)
		}
		if v := counterOf(t, s, 1); v != 1 {
			t.Errorf("%v: %d", p, v)
		}
	}
}

// TestDepend_Validates: disjoint bytes are not enough where a transaction read what was changed (M4), in the block
// that it writes and in others.
func TestDepend_Validates(t *testing.T) {
	for name, c := range map[string]struct {
		level  Isolation
		depend func(tx *Tx) error
		theirs func(tx *Tx) error
		want   error
	}{
		"same block, declared": {Snapshot, func(tx *Tx) error { return tx.Depend(1, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(1, set(64, 9)) }, ErrConflict},
		"same block, other bytes": {Snapshot, func(tx *Tx) error { return tx.Depend(1, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(1, set(72, 9)) }, nil},
		"other block, declared": {Snapshot, func(tx *Tx) error { return tx.Depend(2, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(2, set(64, 9)) }, ErrConflict},
		"other block, other bytes": {Snapshot, func(tx *Tx) error { return tx.Depend(2, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"other block, only read": {Snapshot, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"serializable, read": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, ErrConflict},
		"serializable, range": {Serializable, func(tx *Tx) error { return tx.ReadRange(2, 8, make([]byte, 8)) },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"serializable, own block": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(1); return err },
			func(tx *Tx) error { return tx.Edit(1, set(512, 9)) }, ErrConflict},
		"changed and put back": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error {
				return errors.Join(tx.Edit(2, set(0, 9)), tx.Edit(2, set(0, 0)))
			}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Options{Isolation: c.level})
			mine := mustBegin(t, s, TxOptions{})
			if err := c.depend(mine); err != nil {
				t.Fatal(err)
			}
			mustUpdate(t, s, c.theirs)
			mustEdit(t, mine, 1, set(0, 5))
			if err := mine.Commit(); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestSerializable_NoWriteSkew: two transactions that each read what the other writes never both commit, at any
// interleaving (M4).
func TestSerializable_NoWriteSkew(t *testing.T) {
	s := mustOpen(t, Options{Isolation: Serializable})
	for round := range 3000 {
		n := block.Number(2 * (round % 50))
		mustUpdate(t, s, func(tx *Tx) error { return errors.Join(tx.Edit(n, set(0, 1)), tx.Edit(n+1, set(0, 1))) })
		var wg sync.WaitGroup
		for i := range block.Number(2) {
			wg.Go(func() {
				tx, err := s.Begin(ctx, TxOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				defer tx.Rollback()
				if at(t, tx, n, 0)+at(t, tx, n+1, 0) == 2 {
					mustEdit(t, tx, n+i, set(0, 0))
					if err := tx.Commit(); err != nil && !errors.Is(err, ErrConflict) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if counterOf(t, s, n)+counterOf(t, s, n+1) == 0 {
			t.Fatalf("round %d: both were turned off", round)
		}
	}
}

// TestUpdate_NobodyStarves: a slow transaction over several blocks commits although quick ones change them all the
// time (M5).
func TestUpdate_NobodyStarves(t *testing.T) {
	s := mustOpen(t, Options{Policy: Strict, LostRaces: 4})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for n := block.Number(w); !stop.Load(); n = (n + 1) % 3 {
				mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, merge.Add(field, 1, 0, most)) })
			}
		})
	}
	for _, first := range []block.Number{0, 2} { // also in descending order, so that queues are joined again
		out, err := s.UpdateWith(ctx, TxOptions{}, func(tx *Tx) error {
			for i := range block.Number(3) {
				n := max(first, i) - min(first, i)
				if err := tx.Edit(n, set(64, uint64(first)+7)); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			// Of nine commits one writer has made three: each block was changed, so that the attempt is lost.
			for before := tx.snap; tx.lost < 4 && s.Published() < before+9; {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		if err != nil || out.Aborts < 4 || out.Aborts > 12 {
			t.Errorf("%d attempts lost, %v", out.Aborts, err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestUpdate_LeavesNoTrace: an error, a panic, a cancelled context and a rollback change nothing (M7).
func TestUpdate_LeavesNoTrace(t *testing.T) {
	s := mustOpen(t, Options{})
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, set(0, 5)) })
	before := s.Published()
	errMine := errors.New("mine")
	if err := s.Update(ctx, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 6)); return errMine }); !errors.Is(
		err,
		errMine,
	) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(ctx, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 7)); panic("mine") })
	}()
	cancelled, cancel := context.WithCancel(ctx)
	if err := s.Update(cancelled, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 8)); cancel(); return nil }); !errors.Is(
		err,
		context.Canceled,
	) {
		t.Errorf("got %v", err)
	}
	tx := mustBegin(t, s, TxOptions{})
	mustEdit(t, tx, 1, set(0, 9))
	tx.Rollback()
	if err := tx.Commit(); !errors.Is(err, ErrDone) {
		t.Errorf("a commit after a rollback: %v", err)
	}
	if v := counterOf(t, s, 1); v != 5 || s.Published() != before {
		t.Errorf("the block has %d, and %d commits came", v, s.Published()-before)
	}
	if _, _, live := s.snapshots.oldest(); live {
		t.Error("a snapshot stayed")
	}
}

// TestUpdate_RestartIsNotLost: a function that ignores errRestart runs again all the same.
func TestUpdate_RestartIsNotLost(t *testing.T) {
	s := mustOpen(t, Options{Policy: Wait})
	for _, n := range []block.Number{1, 2} {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, set(0, 1)) })
	}
	mustUpdate(t, s, func(tx *Tx) error {
		for _, n := range []block.Number{2, 1} {
			_ = tx.Edit(n, merge.Add(field, 1, 0, most))
		}
		return nil
	})
	if a, b := counterOf(t, s, 1), counterOf(t, s, 2); a != 2 || b != 2 {
		t.Errorf("%d and %d, want 2 and 2", a, b)
	}
}
