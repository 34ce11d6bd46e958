package mvcc

import (
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
)

// Tag is the kind of a block, for the sealer alone.
type Tag struct {
	Kind  uint8
	Owner uint64
}

// ClosingEpoch is an epoch that closes.
type ClosingEpoch struct {
	Last    block.Seq // the last commit of the epoch
	ordered bool      // it has commits whose data must be durable first (W3)
	tx      *Tx
	images  map[block.Number][]byte
	tags    map[block.Number]Tag
	freed   map[block.Number]bool
	late    map[block.Number]bool
}

// Blocks calls do for each block that the epoch's commits changed, in ascending order.
func (e *ClosingEpoch) Blocks(do func(n block.Number, t Tag)) {
	numbers := make([]block.Number, 0, len(e.images))
	for n := range e.images {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		do(n, e.tags[n])
	}
}

// Image is the epoch's copy of a block, which the sealer completes in place. One that no commit changed is added to
// the epoch.
func (e *ClosingEpoch) Image(n block.Number) ([]byte, error) {
	if p, ok := e.images[n]; ok {
		return p, nil
	}
	p, err := e.tx.ReadBlock(n)
	if err != nil {
		return nil, err
	}
	e.images[n] = slices.Clone(p)
	return e.images[n], nil
}

// Late has a block go home only when the epoch's others are there (wal.Image).
func (e *ClosingEpoch) Late(n block.Number) {
	if e.late == nil {
		e.late = map[block.Number]bool{}
	}
	e.late[n] = true
}

// gather copies the blocks that the epoch changed, as of its last commit.
func (e *journalEpochs) gather(to *ClosingEpoch) error {
	before := e.durable()
	for _, c := range e.listed.take() {
		v, exact := c.visible(to.Last, &e.s.chains.versions)
		data, seq := slices.Clone(v.data), v.seq
		var err error
		if !exact {
			var ok bool
			if ok, err = v.reconstruct(to.Last, data); err == nil && !ok {
				err = fmt.Errorf("history of %v does not reach back to commit %d: this is a bug", c.number, to.Last)
			}
			seq = to.Last
		}
		v.release(&e.s.chains.versions)
		if err != nil {
			return err
		}
		c.latch.lock()
		if c.head.Load().seq > to.Last {
			e.list(c)
		} else {
			c.inEpoch = false
		}
		e.blocks.Add(-1) // not before: a chain that is listed again stays counted
		tag := c.tag
		c.latch.unlock()
		if seq > before {
			to.images[c.number], to.tags[c.number] = data, tag
		}
	}
	e.mu.Lock()
	k := 0
	for k < len(e.frees) && e.frees[k].seq <= to.Last {
		to.freed[e.frees[k].number] = true
		k++
	}
	e.frees = slices.Delete(e.frees, 0, k)
	e.mu.Unlock()
	for n := range to.freed {
		delete(to.images, n)
	}
	return nil
}
