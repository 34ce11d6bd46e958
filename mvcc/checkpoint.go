package mvcc

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// Checkpoint writes every block that was changed home, as of now, and gives up the part of the log that is not needed any more. Commits go
// on meanwhile.
func (s *Store) Checkpoint() error {
	if s.epochs != nil {
		if err := s.wait(s.Published()); err != nil {
			return err
		}
	}
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	if s.epochs != nil {
		return s.checkpointSealed()
	}
	tx := s.begin(context.Background(), TxOptions{ReadOnly: true, Name: "checkpoint"})
	defer s.finish(tx)
	return s.checkpointAt(tx)
}

// checkpointAt writes home what a snapshot sees.
func (s *Store) checkpointAt(tx *Tx) error {
	// W2: what goes home is durable in the log first.
	if s.log != nil && !mutant.Off(mutant.W2) {
		if err := s.log.Wait(tx.snap); err != nil {
			return err
		}
	}
	dirty := s.takeDirty()
	if mutant.Off(mutant.W6) && s.log != nil { // too early: the homes are not even written
		if err := s.log.Truncate(tx.snap); err != nil {
			return err
		}
	}
	buf := make([]byte, s.size)
	for _, c := range dirty {
		if err := s.writeHome(tx, c, buf); err != nil {
			s.relist(dirty)
			return err
		}
	}
	if err := s.home.Sync(); err != nil {
		return s.fail(fmt.Errorf("flush the image: %w", err))
	}
	if s.log != nil {
		if err := s.log.Truncate(tx.snap); err != nil {
			return err
		}
	}
	tx.word.snap.Store(0) // else this snapshot would keep what it has just written
	for _, c := range dirty {
		s.drop(c)
	}
	return nil
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
	v, exact := c.seen(tx.snap, &s.versions)
	defer v.release(&s.versions)
	data, seq := v.data, v.seq
	if !exact {
		// The block's first version may be newer than the snapshot; then home is what the snapshot sees.
		ok, err := v.older(tx.snap, buf)
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

// drop puts a block that came home into the cache, and then gives its chain up, unless there is something newer or older in it (M8).
func (s *Store) drop(c *chain) {
	c.latch.lock()
	defer c.latch.unlock()
	head := c.head.Load()
	if head.seq > c.home {
		s.shardOf(c.number).listDirty(c)
		return
	}
	c.dirty = false
	c.settle(s)
	c.prune(s, nil)
	if c.history > 0 {
		c.idle = true // collect drops it when the last snapshot has gone
		return
	}
	s.dropNow(c)
}

// dropNow gives a chain up. The caller holds the latch; home has the newest version, and there is no other one.
func (s *Store) dropNow(c *chain) {
	if s.epochs == nil { // else the cache has the sealed copy since that came home
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
	c.settle(s)
	c.prune(s, nil)
	if c.history > 0 {
		return fmt.Errorf("%v cannot be used again: a snapshot still reads it", c.number)
	}
	s.unlistDirty(c)
	s.retire(c)
	return nil
}

// Watermarks of the log's space, and of the memory for versions: at high a checkpoint begins, at critical commits wait for it.
const (
	high     = 0.5
	critical = 0.9
)

// pressure is what share of the log's space or of the memory is in use.
func (s *Store) pressure() float64 {
	p := float64(s.chains.Load()*2*int64(s.size)+s.historyBytes.Load()) / float64(s.opts.Memory-s.opts.Memory/4)
	if s.log != nil {
		p = max(p, s.log.Pressure())
	}
	if s.epochs != nil {
		p = max(p, float64(s.epochs.used.Load())/float64(s.epochs.opts.Journal.Blocks()))
	}
	return p
}

// PushBackError tells writers that versions cannot be dropped because a snapshot still reads them.
type PushBackError struct {
	Snapshot string
	Seq      block.Seq
	History  int64 // bytes
}

func (e *PushBackError) Error() string {
	return fmt.Sprintf("too many old versions (%d bytes) are kept for the snapshot of %s, taken at commit %d; end it, or give the store more memory", e.History, e.Snapshot, e.Seq)
}

// admit holds a transaction back while log or memory are nearly full: before it takes its snapshot, because that may be what keeps memory
// from being given up.
func (s *Store) admit(ctx context.Context) error {
	if s.Published()&15 == 0 || s.stats.strained.Load() {
		if err := s.relieve(ctx); err != nil {
			return err
		}
	}
	if s.epochs != nil {
		return s.holdCredits(ctx)
	}
	return nil
}

// relieve asks for a checkpoint where log or memory fill up, and waits where they are nearly full.
func (s *Store) relieve(ctx context.Context) error {
	p := s.pressure()
	s.stats.strained.Store(p >= high)
	if p >= high {
		s.askCheckpoint()
	}
	if p < critical {
		return nil
	}
	return s.holdBack(ctx, false, func() bool { return s.pressure() < critical })
}

// errLong asks for a wait until a chain over its cap has become shorter.
var errLong = fmt.Errorf("%w: too many old versions of a block are kept", ErrConflict)

// tooLong tells whether a block that is written has more history than the cap.
func (tx *Tx) tooLong() bool {
	for _, t := range tx.writes {
		if c := t.chain; c != nil && c.long.Load() {
			tx.long = c
			return true
		}
	}
	return false
}

// shorter waits, without a snapshot, until a chain is below its cap.
func (s *Store) shorter(ctx context.Context, c *chain) error {
	return s.holdBack(ctx, true, func() bool { return !c.long.Load() })
}

func (s *Store) askCheckpoint() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// cramped reports whether it is history that takes the room, or keeps blocks from being dropped: only the end of a snapshot helps then.
func (s *Store) cramped() bool {
	return s.historyBytes.Load() > s.opts.Memory/4 || s.historyCount.Load() > 0 && (s.log == nil || s.log.Pressure() < critical)
}

// holdBack waits until there is room. Where history takes it, as the caller knows or the store finds, only the end of a snapshot makes
// some; so after a while it gives up.
func (s *Store) holdBack(ctx context.Context, history bool, room func() bool) error {
	s.stats.held.Add(1)
	began := time.Now()
	told := false
	for !room() {
		if err := s.Err(); err != nil {
			return err
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		s.askCheckpoint()
		took := time.Since(began)
		seq, name, ok := s.snapshots.oldest()
		if !told && s.telling() {
			told = true
			s.tell(Event{Kind: EventPressure, Seq: seq, Reason: "oldest snapshot: " + name, Count: s.historyBytes.Load()})
		}
		if took > s.opts.PushBack && ok && (history || s.cramped()) {
			return &PushBackError{name, seq, s.historyBytes.Load()}
		}
		if took < time.Millisecond {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
