package mvcc

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/invariant"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
)

// touched is a block that a transaction read or changed.
type touched struct {
	number  block.Number
	chain   *chain   // nil: there was none
	held    *version // reference that keeps base alive
	base    []byte   // the block as the snapshot sees it
	copied  []byte   // memory for base, where history was composed
	view    []byte   // base with the edits, where it was asked for
	edits   []merge.Edit
	placed  []uint32
	depends []merge.Range
	all     bool // depends on the whole block
	latched bool
	stood   bool // newest was base
	tag     Tag
	next    *version
}

// reset ends the use of a touched block, and keeps its memory.
func (t *touched) reset(pool *versionPool) {
	if t.held != nil {
		t.held.release(pool)
	}
	if t.next != nil {
		t.next.release(pool)
	}
	clear(t.edits)
	*t = touched{copied: t.copied, edits: t.edits[:0], placed: t.placed[:0], depends: t.depends[:0], view: t.view[:0]}
}

// touch finds or loads a block at the snapshot.
func (tx *Tx) touch(n block.Number) (*touched, error) {
	if tx.done {
		return nil, ErrDone
	}
	if t := tx.find(n); t != nil {
		return t, nil
	}
	if n >= tx.s.blocks {
		return nil, fmt.Errorf("%v: %w of %d blocks", n, ErrNoBlock, tx.s.blocks)
	}
	c, _ := tx.s.chains.index.Load(n)
	if c != nil && !tx.readonly {
		in := len(tx.queues)
		if err := tx.waitInQueue(c); err != nil {
			return nil, err
		}
		if len(tx.queues) > in &&
			!mutant.Off(mutant.WaitedChain) { // the snapshot is a newer one, and the chain may have been dropped before it
			c, _ = tx.s.chains.index.Load(n)
		}
	}
	k := len(tx.touched)
	if k < cap(tx.touched) {
		tx.touched = tx.touched[:k+1]
	} else {
		tx.touched = append(tx.touched, touched{})
	}
	t := &tx.touched[k]
	t.number = n
	if err := tx.load(t, c); err != nil {
		t.reset(&tx.s.chains.versions)
		tx.touched = tx.touched[:k]
		return nil, err
	}
	if k >= fewTouched {
		tx.place(k)
	}
	return t, nil
}

// fewTouched is how many touched blocks are found by looking at each.
const fewTouched = 32

// place makes a touched block, and at the first call those before it, one of the map's.
func (tx *Tx) place(k int) {
	if tx.places == nil {
		tx.places = map[block.Number]int{}
	}
	if len(tx.places) == 0 {
		for i := range tx.touched {
			tx.places[tx.touched[i].number] = i
		}
	}
	tx.places[tx.touched[k].number] = k
}

// reuseMap is an empty map to go on with: not a large one, which takes its time to clear again and again.
func reuseMap(m map[block.Number]int) map[block.Number]int {
	if len(m) > 1024 {
		return nil
	}
	if len(m) > 0 {
		clear(m)
	}
	return m
}

// find finds a block that the transaction has touched; nil for all others.
func (tx *Tx) find(n block.Number) *touched {
	if len(tx.touched) > fewTouched {
		if i, ok := tx.places[n]; ok {
			return &tx.touched[i]
		}
		return nil
	}
	for i := range tx.touched {
		if tx.touched[i].number == n {
			return &tx.touched[i]
		}
	}
	return nil
}

// load sets a block's base.
func (tx *Tx) load(t *touched, c *chain) error {
	if c == nil {
		data, err := tx.s.clean.ReadBlock(t.number)
		// The first write of the block may have come meanwhile, and its checkpoint may have written while this read.
		if c, _ = tx.s.chains.index.Load(t.number); c == nil {
			t.base = data
			return err
		}
	}
	t.chain = c
	v, exact := c.visible(tx.snap, &tx.s.chains.versions)
	if exact {
		if invariant.On {
			invariant.Must(invariant.SnapshotVisibility(t.number, v.seq, tx.snap))
		}
		t.held, t.base = v, v.data
		if tx.readonly && mutant.Off(mutant.M2) {
			t.held = nil
			v.release(&tx.s.chains.versions)
		}
		return nil
	}
	defer v.release(&tx.s.chains.versions)
	if t.copied == nil {
		t.copied = make([]byte, tx.s.size)
	}
	ok, err := v.reconstruct(tx.snap, t.copied)
	if err == nil && !ok {
		err = fmt.Errorf("history of %v does not reach back to snapshot %d: this is a bug", t.number, tx.snap)
	}
	t.base = t.copied
	return err
}

// current returns base with the transaction's own edits.
func (tx *Tx) current(t *touched) ([]byte, error) {
	if len(t.edits) == 0 {
		return t.base, nil
	}
	if len(t.view) == 0 {
		if err := t.replay(); err != nil {
			return nil, err
		}
	}
	return t.view, nil
}

// replay makes the view of a block.
func (t *touched) replay() error {
	t.view = append(t.view[:0], t.base...)
	for i := range t.edits {
		if _, err := merge.Apply(t.view, &t.edits[i]); err != nil {
			t.view = t.view[:0]
			return err
		}
	}
	return nil
}
