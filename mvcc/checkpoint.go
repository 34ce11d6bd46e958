package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
	"github.com/varvefs/varve/wal"
)

// Checkpoint writes every block that was changed home, as of now, and gives up the part of the log that is not needed
// any more. Commits go on meanwhile.
func (s *Store) Checkpoint() error { return s.durability.checkpoint() }

// checkpointer writes changed blocks home, and drops the chains that this makes unnecessary.
type checkpointer struct {
	s    *Store
	mu   yield.Mutex // one checkpoint at a time
	kick chan struct{}

	noRoom atomic.Pointer[error] // why the last one could not write home: the device was full
}

func (p *checkpointer) init(s *Store) { p.s, p.kick = s, make(chan struct{}, 1) }

// background checkpoints on request until the store ends.
func (p *checkpointer) background() {
	for {
		select {
		case <-p.s.stop:
			return
		case <-p.kick:
			if err := p.s.Checkpoint(); err != nil && p.s.Err() == nil && !lacksSpace(err) {
				_ = p.s.fail(err)
			}
		}
	}
}

// lacksSpace reports whether an error says that a device is full. It ends nothing: what could not be written stays in
// the log and in memory, and the next checkpoint writes it.
func lacksSpace(err error) bool { return errors.Is(err, wal.ErrNoRoom) || errors.Is(err, errHomeFull) }

var errHomeFull = errors.New("the device is full; make room: nothing is lost, and the next checkpoint writes it")

// putHome writes a block to its own place. errHomeFull ends nothing.
func (p *checkpointer) putHome(n block.Number, data []byte) error {
	_, err := p.s.home.WriteAt(data, p.s.size.Offset(n))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC) && !mutant.Off(mutant.HomeRoom):
		err = fmt.Errorf("write %v home: %w (%w)", n, errHomeFull, err)
		p.noRoom.Store(&err)
		return err
	}
	return fmt.Errorf("write %v home: %w", n, err)
}

// request has a checkpoint begin soon.
func (p *checkpointer) request() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run writes home what is published, and then has the log truncated up to it. ready is called with its snapshot
// before.
func (p *checkpointer) run(ready func(*Tx) error, truncate func(block.Seq) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mayWriteHome(); err != nil {
		return err
	}
	s := p.s
	tx := s.begin(context.Background(), TxOptions{ReadOnly: true, Name: "checkpoint"})
	defer s.finish(tx)
	if err := ready(tx); err != nil {
		return err
	}
	dirty := s.chains.takeDirty()
	if mutant.Off(mutant.W6) { // too early: the homes are not even written
		if err := truncate(tx.snap); err != nil {
			return err
		}
	}
	buf := make([]byte, s.size)
	for _, c := range dirty {
		err := p.mayWriteHome()
		if err == nil {
			err = p.writeHome(tx, c, buf)
		}
		if err != nil {
			s.chains.relist(dirty)
			return err
		}
	}
	p.noRoom.Store(nil)
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
		p.dropClean(c)
	}
	return nil
}

// mayWriteHome is the error that ended the store, or its flushes: what was handed to home before may be lost, also
// if a later flush succeeds.
func (p *checkpointer) mayWriteHome() error {
	if p.s.closed.Load() {
		return ErrClosed
	}
	if mutant.Off(mutant.FailedHome) {
		return nil
	}
	return p.s.failure()
}

// writeHome writes the version of a block that a snapshot sees to its own place.
func (p *checkpointer) writeHome(tx *Tx, c *chain, buf []byte) error {
	s := p.s
	v, exact := c.visible(tx.snap, &s.chains.versions)
	defer v.release(&s.chains.versions)
	data, seq := v.data, v.seq
	if !exact {
		// The block's first version may be newer than the snapshot; then home is what the snapshot sees.
		ok, err := v.reconstruct(tx.snap, buf)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("checkpoint: history of %v does not reach back to snapshot %d: this is a bug",
				c.number, tx.snap)
		}
		data, seq = buf, tx.snap
	}
	if seq == 0 {
		return nil
	}
	if err := p.putHome(c.number, data); err != nil {
		if lacksSpace(err) {
			return err
		}
		return s.fail(err)
	}
	c.latch.lock()
	c.home = max(c.home, seq)
	c.latch.unlock()
	return nil
}

// dropClean puts a block that came home into the cache, and then gives its chain up, unless there is something newer
// or older in it (M8).
func (p *checkpointer) dropClean(c *chain) {
	c.latch.lock()
	defer c.latch.unlock()
	if c.head.Load().seq > c.home {
		p.s.chains.dirty.add(c)
		return
	}
	if c.markHome(&p.s.chains) {
		p.dropNow(c)
	}
}

// dropNow gives a chain up. The caller holds the latch; home has the newest version, and there is no other one.
func (p *checkpointer) dropNow(c *chain) {
	if !p.s.durability.homeCached() && !mutant.Off(mutant.M8) {
		p.s.clean.Put(c.number, c.head.Load().data) // never recycled: the chain keeps its reference
	}
	p.s.chains.retire(c)
}

// forget drops the chain of a block that was freed and is about to get new contents beside the log.
func (p *checkpointer) forget(c *chain) error {
	p.mu.Lock() // a checkpoint that has taken the block ends first
	defer p.mu.Unlock()
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return nil
	}
	if !c.onlyNewest(&p.s.chains) {
		return fmt.Errorf("%v cannot be used again: a snapshot still reads it", c.number)
	}
	p.s.chains.dirty.remove(c)
	p.s.chains.retire(c)
	return nil
}

// onlyNewest settles and prunes a chain, and reports whether its newest version is all that is left. The caller holds
// the latch.
func (c *chain) onlyNewest(t *chainTable) bool {
	c.settle(t)
	c.prune(t, nil)
	return c.history == 0
}

// markHome marks a chain's newest version as home, and reports whether the chain may be dropped now. Otherwise the
// collector drops it after the last snapshot that needs its history. The caller holds the latch.
func (c *chain) markHome(t *chainTable) bool {
	c.dirty = false
	c.idle = !c.onlyNewest(t)
	return !c.idle
}
