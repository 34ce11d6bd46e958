package stress

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// bitmap is the workload of allocating bits and freeing them.
type bitmap struct {
	run   *Run
	mu    sync.Mutex
	given map[uint32]int  // guarded by mu: how often a bit was allocated, less how often it was freed
	twice map[uint32]bool // guarded by mu: given to two at a time
}

// held is a writer's bits.
type held struct{ bits []uint32 }

func newBitmap(r *Run) load {
	return &bitmap{run: r, given: map[uint32]int{}, twice: map[uint32]bool{}}
}
func (m *bitmap) setup(context.Context) error { return nil }
func (m *bitmap) touches() int                { return 1 }

func (m *bitmap) step(tx *mvcc.Tx, w *writer) (func(), error) {
	mine, _ := w.state.(*held)
	if mine == nil {
		mine = &held{}
		w.state = mine
	}
	if k := len(mine.bits); k > 8 || k > 0 && w.rng.IntN(2) == 0 {
		return m.free(tx, w, mine)
	}
	b, err := tx.ReadBlock(0)
	if err != nil {
		return nil, err
	}
	all := uint32(len(b) * 8)
	n := w.rng.Uint32N(all)
	if w.rec != nil {
		n %= 64 // all look for the next free one in the same place, and conflict
	}
	for tries := 0; b[n/8]&(1<<(n%8)) != 0; tries++ {
		if n = (n + 1) % all; tries > len(b)*8 {
			return nil, errors.New("the bitmap is full")
		}
	}
	noted := m.inOrder(tx, w, n, 1)
	return func() {
		mine.bits = append(mine.bits, n)
		noted()
	}, tx.Edit(0, merge.SetBits(0, n))
}

// inOrder has a change noted in the order of the commits, while the history is recorded: then no bit is given twice.
// Else the function that it returns notes it, and a bit may be given again before its freeing is noted.
func (m *bitmap) inOrder(tx *mvcc.Tx, w *writer, n uint32, by int) (noted func()) {
	if w.rec == nil {
		return func() { m.record(n, by) }
	}
	tx.Sequenced(func(block.Seq) {
		m.record(n, by)
		m.mu.Lock()
		defer m.mu.Unlock()
		if times := m.given[n]; times != 0 && times != 1 {
			m.twice[n] = true
		}
	})
	return nothing
}

// record counts a committed change.
func (m *bitmap) record(n uint32, by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given[n] += by; m.given[n] == 0 {
		delete(m.given, n)
	}
}

// free frees a bit.
func (m *bitmap) free(tx *mvcc.Tx, w *writer, mine *held) (func(), error) {
	k := w.rng.IntN(len(mine.bits))
	n := mine.bits[k]
	if err := tx.Edit(0, merge.ClearBits(0, n)); err != nil {
		return nil, err
	}
	noted := m.inOrder(tx, w, n, -1)
	return func() {
		mine.bits = append(mine.bits[:k], mine.bits[k+1:]...)
		noted()
	}, nil
}

func (m *bitmap) check(tx *mvcc.Tx, running bool) (bad []string) {
	b, err := tx.ReadBlock(0)
	if err != nil {
		return []string{err.Error()}
	}
	if running {
		return nil
	}
	set := 0
	for _, v := range b {
		set += bits.OnesCount8(v)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.twice {
		bad = append(bad, fmt.Sprintf("bit %d was given to two at a time, or freed twice", n))
	}
	for n, times := range m.given {
		if b[n/8]&(1<<(n%8)) == 0 || times != 1 {
			bad = append(bad, fmt.Sprintf("bit %d was allocated %d times over, and is %d", n, times, b[n/8]>>(n%8)&1))
		}
	}
	if set != len(m.given) {
		bad = append(bad, fmt.Sprintf("%d bits are set, and %d are allocated", set, len(m.given)))
	}
	return bad
}
