package mvcc

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// commit runs the protocol of the package comment. On an error nothing of the transaction stays (M7).
func (tx *Tx) commit() error {
	s := tx.s
	if err := tx.context(); err != nil {
		return err
	}
	tx.writes = tx.writes[:0]
	for i := range tx.touched {
		if t := &tx.touched[i]; len(t.edits) > 0 {
			tx.writes = append(tx.writes, t)
		}
	}
	if len(tx.writes) == 0 && len(tx.fresh) == 0 && len(tx.homes) == 0 && len(tx.freed) == 0 {
		return nil // a snapshot is a point of the serial order already
	}
	if tx.overChainCap() {
		return errChainCap
	}
	if len(tx.writes) > 1 {
		slices.SortFunc(tx.writes, func(a, b *touched) int {
			if a.number < b.number {
				return -1
			}
			return 1
		})
	}
	if err := tx.writeFresh(); err != nil {
		return err
	}
	tx.releaseSnapshot()
	yield.At("commit")
	if err := tx.commitLatched(); err != nil {
		return err
	}
	yield.At("published")
	if len(tx.groups) > 0 {
		s.groups.forgetSome(s.Durable())
	}
	for _, do := range tx.hooks {
		do()
	}
	return nil
}

// dependencyChanged counts and reports a conflict on a block that the transaction only read.
func (tx *Tx) dependencyChanged() error {
	tx.s.stats.conflicts.Add(1)
	e := Event{Kind: EventConflict, Tx: tx.priority, Reason: "a block that it depends on has changed",
		NoBlock: tx.loser == nil}
	if tx.loser != nil {
		e.Block = tx.loser.number
	}
	tx.s.events.emit(e)
	return ErrConflict
}

// commitLatched is the part of commit under the latches of the chains. Functions of the caller run in it, which may
// panic, or end their goroutine: the latches are given back.
func (tx *Tx) commitLatched() error {
	defer tx.unlatch()
	for _, t := range tx.writes {
		if !tx.latch(t) {
			return ErrConflict
		}
	}
	size, err := tx.resolve()
	if err == nil {
		err = tx.s.durability.encode(tx, size)
	}
	if err != nil {
		return err
	}
	if mutant.Off(mutant.M4) && !tx.validEarly() {
		return ErrConflict
	}
	tx.install()
	ok, err := tx.sequence()
	if err == nil && !ok {
		tx.unlatch()
		return tx.dependencyChanged()
	}
	return err
}

func (tx *Tx) context() error {
	if tx.ctx == nil {
		return nil
	}
	return tx.ctx.Err()
}

// writeFresh writes ordered data home, before the sequence is taken: every epoch that holds the commit flushes it
// first (W3). So does the next epoch where a write fails, and the transaction with it: edits of those blocks may start
// from what is home.
func (tx *Tx) writeFresh() error {
	s := tx.s
	if len(tx.fresh) > 0 {
		defer s.durability.wroteHome(true)
	}
	for _, f := range tx.fresh {
		if c, _ := s.chains.index.Load(f.number); c != nil {
			// Pending home writes of the block's former life must not come after this one.
			if err := s.checkpoints.forget(c); err != nil {
				return err
			}
		}
		if _, err := s.home.WriteAt(f.data, s.size.Offset(f.number)); err != nil {
			s.clean.Drop(f.number) // it may be half written
			return fmt.Errorf("write %v: %w", f.number, err)
		}
		s.clean.Put(f.number, slices.Clone(f.data))
	}
	return tx.writeHomes()
}

// writeHomes writes file data to its own place. The snapshot still lives: a block that is freed meanwhile is not
// used again before that ends.
func (tx *Tx) writeHomes() error {
	s, ordered := tx.s, false
	if len(tx.homes) > 0 {
		defer func() { s.durability.wroteHome(ordered) }()
	}
	for _, h := range tx.homes {
		if h.ordered {
			ordered = true
			for i := range h.blocks(s.size) {
				if c, _ := s.chains.index.Load(h.number + block.Number(i)); c != nil {
					if err := s.checkpoints.forget(c); err != nil {
						return err
					}
				}
			}
		}
		_, err := s.home.WriteAt(h.data, s.size.Offset(h.number)+int64(h.off))
		if h.ordered && !mutant.Off(mutant.FormerLife) {
			// The cache may have what the block was before it was freed. An edit that makes it the same again would
			// change nothing, and home would keep the data.
			for i := range h.blocks(s.size) {
				s.clean.Drop(h.number + block.Number(i))
			}
		}
		if err != nil {
			return fmt.Errorf("write %v: %w", h.number, err)
		}
	}
	return nil
}

// latch latches a block's chain, and makes one where there is none: its first version is what the snapshot sees,
// because the block had no chain all the time, or the transaction would see another one (M8).
func (tx *Tx) latch(t *touched) bool {
	for {
		c := t.chain
		if tx.slot.snap.Load() != 0 {
			c = tx.s.chains.of(t.number, t.base)
		}
		c.latch.lock()
		if !c.dead {
			t.chain, t.latched = c, true
			if !c.dirty { // also if nothing comes of it: the checkpoint drops an unchanged chain
				c.dirty = true
				tx.s.chains.dirty.add(c)
			}
			return true
		}
		c.latch.unlock()
		if tx.slot.snap.Load() == 0 {
			return false // dropped meanwhile; without a snapshot the changes since are unknown
		}
	}
}

// releaseSnapshot ends the snapshot before the latches are waited for, where all that the commit compares is held by
// references: else each writer that waits would keep a version of the blocks that others change meanwhile. A
// transaction in a queue after lost races keeps it: it must not lose another one to a checkpoint that drops the chain
// (latch).
func (tx *Tx) releaseSnapshot() {
	if tx.lost >= tx.s.opts.LostRaces {
		return
	}
	for i := range tx.touched {
		if t := &tx.touched[i]; t.chain == nil || len(t.edits) == 0 {
			return
		}
	}
	tx.slot.snap.Store(0)
}

// canReleaseSnapshot reports whether the snapshot may end before the commit is sequenced: all that is compared then
// belongs to chains that are latched. A block that is only read may be without a chain, which means that it is
// unchanged as long as the snapshot lives (M8).
func (tx *Tx) canReleaseSnapshot() bool {
	for i := range tx.touched {
		if len(tx.touched[i].edits) == 0 {
			return false
		}
	}
	return true
}

func (tx *Tx) unlatch() {
	for _, t := range tx.writes {
		if t.latched {
			t.latched = false
			t.chain.latch.unlock()
		}
	}
}

// resolve makes the new version of each block that is written, by the policy of its chain, and returns the bytes that
// a record of them may have. The latches are held.
func (tx *Tx) resolve() (size int, err error) {
	s := tx.s
	size = wal.RecordOverhead
	for _, t := range tx.writes {
		c := t.chain
		newest := c.head.Load()
		if !s.queues.mayCommit(tx.priority, t.number) {
			tx.queueHeld = true
			return 0, tx.conflict(t, newest, errQueued)
		}
		t.stood = &newest.data[0] == &t.base[0] || newest.seq <= tx.snap || mutant.Off(mutant.M3)
		if !t.stood && !tx.mayMerge(c) {
			return 0, tx.conflict(t, newest, nil)
		}
		base := t.base
		if t.stood {
			base = newest.data
		}
		t.next = s.chains.versions.get()
		if err := tx.merge(t, newest, base); err != nil {
			return 0, tx.conflict(t, newest, err)
		}
		t.next.changed = append(t.next.changed[:0], tx.result.Ranges...)
		copy(t.placed, tx.result.Placed)
		size += wal.RecordOverhead
		for _, r := range t.next.changed {
			size += int(r.Len) + wal.RecordOverhead
		}
		c.observe(s, tx, t.stood)
	}
	return size, nil
}

// merge resolves one block, and checks the ranges of it that the transaction depends on.
func (tx *Tx) merge(t *touched, newest *version, base []byte) error {
	if !t.stood {
		if t.all && !slices.Equal(base, newest.data) {
			return merge.ErrChanged
		}
		for _, r := range t.depends {
			if !merge.Unchanged(base, newest.data, r) {
				return merge.ErrChanged
			}
		}
	}
	var began time.Time
	if !t.stood && !tx.began.IsZero() {
		began = time.Now()
	}
	err := merge.Resolve(t.next.data, base, newest.data, t.edits, &tx.result)
	if !t.stood {
		tx.merged(t, newest.seq, began, err)
	}
	return err
}

// validate checks what the transaction depends on in blocks that it does not write (M4). The caller holds the
// sequencer's latch: commits with earlier sequences have installed, and those without one come after.
func (tx *Tx) validate() bool {
	for i := range tx.touched {
		t := &tx.touched[i]
		if len(t.edits) > 0 || !t.all && len(t.depends) == 0 {
			continue
		}
		if !tx.unchanged(t) {
			if tx.loser = t.chain; tx.loser == nil { // it has one since, and keeps it for this snapshot
				tx.loser, _ = tx.s.chains.index.Load(t.number)
			}
			return false
		}
	}
	return true
}

// validEarly is validate without the sequencer's latch: another commit may come between it and the sequence.
func (tx *Tx) validEarly() bool {
	defer runtime.Gosched()
	return tx.validate()
}

func (tx *Tx) unchanged(t *touched) bool {
	c, _ := tx.s.chains.index.Load(t.number)
	if c == nil {
		return true // no chain: nothing newer than any live snapshot
	}
	v := c.newest(&tx.s.chains.versions)
	defer v.release(&tx.s.chains.versions)
	if v.seq <= tx.snap {
		return true
	}
	if t.all && !slices.Equal(t.base, v.data) {
		return false
	}
	for _, r := range t.depends {
		if !merge.Unchanged(t.base, v.data, r) {
			return false
		}
	}
	return true
}

// install makes everything ready for the new versions to become the heads of their chains, which takes a pointer each.
func (tx *Tx) install() {
	s := tx.s
	if tx.canReleaseSnapshot() {
		// References hold what was read. Without its snapshot the transaction does not keep the very versions that it
		// replaces.
		tx.slot.snap.Store(0)
	}
	for _, t := range tx.writes {
		if len(t.next.changed) == 0 {
			t.next.release(&s.chains.versions) // checks only
			t.next = nil
			continue
		}
		t.chain.prepare(&s.chains, t.next)
	}
}
