package mvcc

import (
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
)

// Tag says what a block is. It means something to the sealer only.
type Tag struct {
	Kind  uint8
	Owner uint64
}

// Sealing is an epoch that closes.
type Sealing struct {
	Last    block.Seq // the last commit of the epoch
	ordered bool      // it has commits whose data must be durable first (W3)
	tx      *Tx
	images  map[block.Number][]byte
	tags    map[block.Number]Tag
	freed   map[block.Number]bool
}

// Blocks calls do for each block that the epoch's commits changed, in ascending order.
func (e *Sealing) Blocks(do func(n block.Number, t Tag)) {
	numbers := make([]block.Number, 0, len(e.images))
	for n := range e.images {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		do(n, e.tags[n])
	}
}

// Image is the epoch's copy of a block, which the sealer completes in place. One that no commit changed is added to the epoch.
func (e *Sealing) Image(n block.Number) ([]byte, error) {
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

// gather copies what the epoch changed, as of its last commit.
func (s *Store) gather(e *Sealing) error {
	before := block.Seq(s.epochs.durable.Load())
	for _, c := range s.takeEpoch() {
		v, exact := c.seen(e.Last, &s.versions)
		data, seq := slices.Clone(v.data), v.seq
		var err error
		if !exact {
			var ok bool
			if ok, err = v.older(e.Last, data); err == nil && !ok {
				err = fmt.Errorf("history of %v does not reach back to commit %d: this is a bug", c.number, e.Last)
			}
			seq = e.Last
		}
		v.release(&s.versions)
		if err != nil {
			return err
		}
		c.latch.lock()
		if c.head.Load().seq > e.Last {
			s.relistEpoch(c)
		} else {
			c.inEpoch = false
		}
		tag := c.tag
		c.latch.unlock()
		if seq > before {
			e.images[c.number], e.tags[c.number] = data, tag
		}
	}
	q := s.epochs
	q.mu.Lock()
	k := 0
	for k < len(q.freed) && q.freed[k].seq <= e.Last {
		e.freed[q.freed[k].number] = true
		k++
	}
	q.freed = slices.Delete(q.freed, 0, k)
	q.mu.Unlock()
	for n := range e.freed {
		delete(e.images, n)
	}
	return nil
}
