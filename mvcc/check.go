package mvcc

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
)

// Check verifies the store's own structures: chains in order, history that can be read, counters that agree. It is for tests, and for a
// store that is suspected; commits wait for it block by block.
func (s *Store) Check() error {
	s.Collect()
	var err error
	s.index.Range(func(n block.Number, c *chain) bool {
		err = s.checkChain(n, c)
		return err == nil
	})
	return err
}

func (s *Store) checkChain(n block.Number, c *chain) error {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return nil
	}
	if c.number != n {
		return fmt.Errorf("the chain of %v says that it is of %v", n, c.number)
	}
	top := c.head.Load()
	if b := top.before.Load(); b != nil {
		if b.seq >= top.seq {
			return fmt.Errorf("%v: version %d lies above version %d", n, top.seq, b.seq)
		}
		top = b
	}
	newer, count, scratch := top.seq, 0, make([]byte, s.size)
	for d := top.below.Load(); d != nil; d = d.older {
		if d.seq >= newer {
			return fmt.Errorf("%v: version %d lies above version %d", n, newer, d.seq)
		}
		if err := d.apply(scratch, nil); err != nil {
			return fmt.Errorf("%v: version %d cannot be made: %w", n, d.seq, err)
		}
		newer = d.seq
		count++
	}
	if count != c.history {
		return fmt.Errorf("%v: %d old versions, counted as %d", n, count, c.history)
	}
	return nil
}
