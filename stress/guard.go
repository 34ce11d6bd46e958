package stress

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const (
	guardApart  = 4 // pairs in two blocks each
	guardInside = 4 // pairs within one block each
	guardBlocks = 2*guardApart + guardInside
	guardOn     = 1 << 63 // the highest bit says that it is on, the rest distinguishes its writes
)

// guard is the workload of pairs of which one must stay on. A writer that turns one off has read that the other is on,
// and declares it: neither may go off at any isolation level. The other one lies in another block, which the commit
// does not write, or in the same one.
type guard struct{ run *Run }

// place is where one of a pair lies.
type guardPlace struct {
	n   block.Number
	off uint32
}

func newGuard(r *Run) load          { return &guard{r} }
func (g *guard) declares() bool     { return true }
func (g *guard) touches() int       { return guardBlocks }
func (p guardPlace) key() uint64    { return key(p.n, int(p.off)) }
func (p guardPlace) r() merge.Range { return merge.Range{Off: p.off, Len: 8} }
func (p guardPlace) String() string { return fmt.Sprintf("byte %d of block %d", p.off, p.n) }
func guardPair(i int) [2]guardPlace {
	if i < guardApart {
		return [2]guardPlace{{block.Number(2 * i), 0}, {block.Number(2*i + 1), 0}}
	}
	n := block.Number(guardApart + i)
	return [2]guardPlace{{n, 0}, {n, 128}}
}

func (g *guard) setup(ctx context.Context) error {
	return g.run.store.Update(ctx, func(tx *mvcc.Tx) error {
		for i := range guardApart + guardInside {
			for _, p := range guardPair(i) {
				if err := tx.Edit(p.n, merge.Set(p.off, binary.LittleEndian.AppendUint64(nil, guardOn))); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (g *guard) read(tx *mvcc.Tx, w *writer, p guardPlace) (value uint64, on bool, err error) {
	var b [8]byte
	err = tx.ReadRange(p.n, p.off, b[:])
	v := binary.LittleEndian.Uint64(b[:])
	w.read(p.key(), v&^guardOn)
	return v &^ guardOn, v&guardOn != 0, err
}

func (g *guard) step(tx *mvcc.Tx, w *writer) (func(), error) {
	pair := guardPair(w.rng.IntN(guardApart + guardInside))
	k := w.rng.IntN(2)
	mine, other := pair[k], pair[1-k]
	prev, on, err := g.read(tx, w, mine)
	if err != nil {
		return nil, err
	}
	_, otherOn, err := g.read(tx, w, other)
	if err != nil {
		return nil, err
	}
	if err := tx.Depend(other.n, other.r()); err != nil {
		return nil, err
	}
	value := w.fresh()
	w.wrote(mine.key(), value, prev)
	if !on || !otherOn {
		value |= guardOn
	}
	binary.LittleEndian.PutUint64(w.buf, value)
	return nothing, tx.Edit(mine.n, merge.Set(mine.off, w.buf[:8]))
}

func (g *guard) check(tx *mvcc.Tx, _ bool) (bad []string) {
	for i := range guardApart + guardInside {
		pair, on := guardPair(i), false
		for _, p := range pair {
			b, err := tx.ReadBlock(p.n)
			if err != nil {
				return append(bad, err.Error())
			}
			on = on || b[p.off+7]>>7 == 1
		}
		if !on {
			bad = append(bad, fmt.Sprintf("write skew although it was declared: %v and %v are both off (M4)", pair[0], pair[1]))
		}
	}
	return bad
}
