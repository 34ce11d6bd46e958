package mvcc

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
)

// Checkpoint writes every block that was changed home, as of now, and gives up the part of the log that is not needed any more. Commits go
// on meanwhile.
func (s *Store) Checkpoint() error { return s.durability.checkpoint() }

// checkpointNow writes home what is published, and then has the log truncated up to it. ready is called with its snapshot before.
func (s *Store) checkpointNow(ready func(*Tx) error, truncate func(block.Seq) error) error {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	if err := s.mayWriteHome(); err != nil {
		return err
	}
	tx := s.begin(context.Background(), TxOptions{ReadOnly: true, Name: "checkpoint"})
	defer s.finish(tx)
	if err := ready(tx); err != nil {
		return err
	}
	dirty := s.takeDirty()
	if mutant.Off(mutant.W6) { // too early: the homes are not even written
		if err := truncate(tx.snap); err != nil {
			return err
		}
	}
	buf := make([]byte, s.size)
	for _, c := range dirty {
		err := s.mayWriteHome()
		if err == nil {
			err = s.writeHome(tx, c, buf)
		}
		if err != nil {
			s.relist(dirty)
			return err
		}
	}
	if err := s.home.Sync(); err != nil {
		return s.fail(fmt.Errorf("flush the image: %w", err))
	}
	yield.At("checkpoint homes")
	if err := truncate(tx.snap); err != nil {
		return err
	}
	yield.At("checkpoint tail")
	tx.slot.snap.Store(0) // else this snapshot would keep what it has just written
	for _, c := range dirty {
		s.dropClean(c)
	}
	return nil
}

// mayWriteHome is the error that ended the store, or its flushes: what was handed to home before may be lost, whatever a later flush says.
func (s *Store) mayWriteHome() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if mutant.Off(mutant.FailedHome) {
		return nil
	}
	return s.failure()
}

// takeDirty takes the chains that were changed since the last checkpoint, in the order of their blocks.
func (s *Store) takeDirty() []*chain {
	var out []*chain
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		out = append(out, sh.dirty...)
		sh.dirty = nil
		sh.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b *chain) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return out
}

func (s *Store) relist(dirty []*chain) {
	for _, c := range dirty {
		s.shardOf(c.number).listDirty(c)
	}
}

// writeHome writes the version of a block that a snapshot sees to its own place.
func (s *Store) writeHome(tx *Tx, c *chain, buf []byte) error {
	v, exact := c.visible(tx.snap, &s.versions)
	defer v.release(&s.versions)
	data, seq := v.data, v.seq
	if !exact {
		// The block's first version may be newer than the snapshot; then home is what the snapshot sees.
		ok, err := v.reconstruct(tx.snap, buf)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("checkpoint: history of %v does not reach back to snapshot %d: this is a bug", c.number, tx.snap)
		}
		data, seq = buf, tx.snap
	}
	if seq == 0 {
		return nil
	}
	if _, err := s.home.WriteAt(data, s.size.Offset(c.number)); err != nil {
		return s.fail(fmt.Errorf("write %v home: %w", c.number, err))
	}
	c.latch.lock()
	c.home = max(c.home, seq)
	c.latch.unlock()
	return nil
}

// dropClean puts a block that came home into the cache, and then gives its chain up, unless there is something newer or older in it (M8).
func (s *Store) dropClean(c *chain) {
	c.latch.lock()
	defer c.latch.unlock()
	head := c.head.Load()
	if head.seq > c.home {
		s.shardOf(c.number).listDirty(c)
		return
	}
	if c.markHome(s) {
		s.dropNow(c)
	}
}

// onlyNewest settles and prunes a chain, and reports whether its newest version is all that is left. The caller holds the latch.
func (c *chain) onlyNewest(s *Store) bool {
	c.settle(s)
	c.prune(s, nil)
	return c.history == 0
}

// markHome notes that a chain's newest version is home, and reports whether the chain may be dropped now. Else collect does when the last snapshot has gone. The
// caller holds the latch.
func (c *chain) markHome(s *Store) bool {
	c.dirty = false
	c.idle = !c.onlyNewest(s)
	return !c.idle
}

// dropNow gives a chain up. The caller holds the latch; home has the newest version, and there is no other one.
func (s *Store) dropNow(c *chain) {
	if !s.durability.homeCached() && !mutant.Off(mutant.M8) {
		s.clean.Put(c.number, c.head.Load().data) // never recycled: the chain keeps its reference
	}
	s.retire(c)
}

// retire takes a chain out of the index. The caller holds the latch.
func (s *Store) retire(c *chain) {
	c.dead = true
	s.index.Delete(c.number)
	s.chains.Add(-1)
}

// unlistDirty takes a chain off the list of those that a checkpoint has to write.
func (s *Store) unlistDirty(c *chain) {
	sh := s.shardOf(c.number)
	sh.mu.Lock()
	sh.dirty = slices.DeleteFunc(sh.dirty, func(o *chain) bool { return o == c })
	sh.mu.Unlock()
}

// forget drops the chain of a block that was freed and is about to get new contents beside the log.
func (s *Store) forget(c *chain) error {
	s.checkpoints.Lock() // a checkpoint that has the block in hand ends first
	defer s.checkpoints.Unlock()
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return nil
	}
	if !c.onlyNewest(s) {
		return fmt.Errorf("%v cannot be used again: a snapshot still reads it", c.number)
	}
	s.unlistDirty(c)
	s.retire(c)
	return nil
}

func (s *Store) askCheckpoint() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
