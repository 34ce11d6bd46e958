package stress

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const (
	familyBlocks = 4 // the first half of them has parents, the second their children's numbers
	familyEach   = 4 // families a block
	familySize   = 3 // children at most, so that both bounds are met
)

// families is the workload of parents that go only when they have no children, as a directory does. A birth checks that
// the parent is there and adds a child; an end checks that there is none and takes the parent away. Neither reads: the
// checks and the bounds of the additions are all that keeps them right.
type families struct {
	run      *Run
	children atomic.Int64 // born, less those gone
}

func newFamilies(r *Run) load                   { return &families{run: r} }
func (f *families) setup(context.Context) error { return nil }
func (f *families) touches() int                { return familyBlocks }

// family is one parent and its number of children.
type family struct {
	parent, number block.Number
	off            uint32
}

func familyAt(i int) family {
	n := block.Number(i / familyEach)
	return family{n, n + familyBlocks/2, uint32(i % familyEach * 64)}
}

func (a family) count() merge.Field  { return merge.Field{Off: a.off, Width: 8} }
func (a family) there(b []byte) bool { return b[a.off] == 1 }

// step is a birth, an end of a child, or of a parent; where that is not possible, it brings the parent back.
func (f *families) step(tx *mvcc.Tx, w *writer) (func(), error) {
	a := familyAt(w.rng.IntN(familyBlocks / 2 * familyEach))
	var done func()
	var err error
	switch w.rng.IntN(4) {
	case 0, 1:
		done, err = f.birth(tx, a)
	case 2:
		done, err = f.leave(tx, a)
	default:
		done, err = nothing, f.end(tx, a)
	}
	if errors.Is(err, merge.ErrCheck) || errors.Is(err, merge.ErrBounds) {
		return nothing, f.revive(tx, a)
	}
	return done, err
}

func (f *families) birth(tx *mvcc.Tx, a family) (func(), error) {
	if err := tx.Edit(a.parent, merge.Check(a.there)); err != nil {
		return nil, err
	}
	return func() { f.children.Add(1) }, tx.Edit(a.number, merge.Add(a.count(), 1, 0, familySize))
}

func (f *families) leave(tx *mvcc.Tx, a family) (func(), error) {
	return func() { f.children.Add(-1) }, tx.Edit(a.number, merge.Add(a.count(), -1, 0, familySize))
}

// end takes the parent away. The check is that of the newest bytes, not of those that this transaction sees.
func (f *families) end(tx *mvcc.Tx, a family) error {
	if err := tx.Edit(a.number, merge.Check(func(b []byte) bool { return a.count().Get(b) == 0 })); err != nil {
		return err
	}
	return tx.Edit(a.parent, merge.SetBlind(a.off, []byte{0}))
}

func (f *families) revive(tx *mvcc.Tx, a family) error {
	return tx.Edit(a.parent, merge.SetBlind(a.off, []byte{1}))
}

func (f *families) check(tx *mvcc.Tx, running bool) (bad []string) {
	total := int64(0)
	for i := range familyBlocks / 2 * familyEach {
		a := familyAt(i)
		p, err := tx.ReadBlock(a.parent)
		if err != nil {
			return append(bad, err.Error())
		}
		b, err := tx.ReadBlock(a.number)
		if err != nil {
			return append(bad, err.Error())
		}
		n := a.count().Get(b)
		total += int64(n)
		if n > familySize {
			bad = append(bad, fmt.Sprintf("family %d has %d children, of at most %d", i, int64(n), familySize))
		}
		if n > 0 && !a.there(p) {
			bad = append(bad, fmt.Sprintf("family %d has %d children and no parent", i, int64(n)))
		}
	}
	if have := f.children.Load(); !running && total != have {
		bad = append(bad, fmt.Sprintf("there are %d children, and %d were born and have not left", total, have))
	}
	return bad
}
