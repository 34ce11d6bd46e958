package mvcc

import (
	"fmt"
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
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
	if len(tx.writes) == 0 && len(tx.fresh) == 0 && len(tx.freed) == 0 {
		return nil // a snapshot is a point of the serial order already
	}
	if tx.tooLong() {
		return errLong
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
	tx.letGo()
	for _, t := range tx.writes {
		if !tx.latch(t) {
			tx.unlatch()
			return ErrConflict
		}
	}
	if err := tx.resolve(); err != nil {
		tx.unlatch()
		return err
	}
	seq := block.Seq(s.next.Add(1))
	s.reserve(seq)
	if !tx.validate() {
		tx.unlatch()
		tx.record = s.emptyRecord(tx.record[:0], seq)
		s.publish(seq, tx.record)
		return ErrConflict
	}
	tx.encode(seq)
	tx.install(seq)
	tx.unlatch()
	tx.standing(seq)
	tx.noteFrees(seq)
	s.publish(seq, tx.record)
	tx.seq = seq
	for _, do := range tx.hooks {
		do()
	}
	return nil
}

func (tx *Tx) context() error {
	if tx.ctx == nil {
		return nil
	}
	return tx.ctx.Err()
}

// writeFresh writes ordered data home, before the sequence is taken: every epoch that holds the commit flushes it first (W3).
func (tx *Tx) writeFresh() error {
	s := tx.s
	for _, f := range tx.fresh {
		if c, _ := s.index.Load(f.number); c != nil {
			// Pending home writes of the block's former life must not come after this one.
			if err := s.forget(c); err != nil {
				return err
			}
		}
		if _, err := s.home.WriteAt(f.data, s.size.Offset(f.number)); err != nil {
			return fmt.Errorf("write %v: %w", f.number, err)
		}
		s.clean.Put(f.number, slices.Clone(f.data))
	}
	if len(tx.fresh) > 0 && s.log != nil {
		s.log.Ordered()
	}
	return nil
}

// latch latches a block's chain, and makes one where there is none: its first version is what the snapshot sees, because the block
// had no chain all the time, or the transaction would see another one (M8).
func (tx *Tx) latch(t *touched) bool {
	for {
		c := t.chain
		if tx.word.snap.Load() != 0 {
			c = tx.s.chainOf(t.number, t.base)
		}
		c.latch.lock()
		if !c.dead {
			t.chain, t.latched = c, true
			return true
		}
		c.latch.unlock()
		if tx.word.snap.Load() == 0 {
			return false // dropped meanwhile; without a snapshot nobody knows what happened to the block since
		}
	}
}

// letGo ends the snapshot before the latches are waited for, where all that the commit compares is held by references: else each writer
// that waits would keep a version of the blocks that others change meanwhile.
func (tx *Tx) letGo() {
	for i := range tx.touched {
		if t := &tx.touched[i]; t.chain == nil || len(t.edits) == 0 {
			return
		}
	}
	tx.word.snap.Store(0)
}

func (tx *Tx) unlatch() {
	for _, t := range tx.writes {
		if t.latched {
			t.latched = false
			t.chain.latch.unlock()
		}
	}
}

// resolve makes the new version of each block that is written, by the policy of its chain. The latches are held.
func (tx *Tx) resolve() error {
	s := tx.s
	size := recordOverhead + len(tx.fresh)*recordOverhead
	for _, t := range tx.writes {
		c := t.chain
		newest := c.head.Load()
		if !s.lets(tx.age, t.number) {
			tx.needLine = true
			return tx.conflict(t, newest, errInLine)
		}
		t.stood = &newest.data[0] == &t.base[0] || newest.seq <= tx.snap
		if !t.stood && !tx.mayMerge(c) {
			return tx.conflict(t, newest, nil)
		}
		base := t.base
		if t.stood {
			base = newest.data
		}
		t.next = s.versions.get()
		if err := tx.merge(t, newest, base); err != nil {
			return tx.conflict(t, newest, err)
		}
		t.next.changed = append(t.next.changed[:0], tx.result.Ranges...)
		copy(t.placed, tx.result.Placed)
		size += recordOverhead
		for _, r := range t.next.changed {
			size += int(r.Len) + recordOverhead
		}
		c.observe(s, tx, t.stood)
	}
	if s.log != nil && size > s.log.Largest() {
		return fmt.Errorf("%w: its record may have %d bytes, and %d fit a segment; split it, or open the store with larger segments", wal.ErrSize, size, s.log.Largest())
	}
	return nil
}

// recordOverhead is at least what a record, a block or a range of it needs beside its bytes.
const recordOverhead = 20

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
		tx.merged(t, began, err)
	}
	return err
}

// validate checks what the transaction depends on in blocks that it does not write (M4). It has its sequence: whoever has an earlier one
// has installed, or still holds the latch.
func (tx *Tx) validate() bool {
	for i := range tx.touched {
		t := &tx.touched[i]
		if len(t.edits) > 0 || !t.all && len(t.depends) == 0 {
			continue
		}
		if !tx.unchanged(t) {
			tx.loser = t.chain
			tx.s.tell(Event{Kind: EventConflict, Tx: tx.age, Block: t.number, Reason: "a block that it depends on has changed"})
			return false
		}
	}
	return true
}

func (tx *Tx) unchanged(t *touched) bool {
	c, _ := tx.s.index.Load(t.number)
	if c == nil {
		return true // no chain: nothing newer than any live snapshot
	}
	// Its holder may be waiting for a block that this transaction has latched: only a moment.
	for spins := 0; c.latch.held.Load(); spins++ {
		if spins == 16 {
			return false
		}
		lookAway(64)
	}
	v := c.newest(&tx.s.versions)
	defer v.release(&tx.s.versions)
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

// encode makes the record for the log: ranges as resolved (W7).
func (tx *Tx) encode(seq block.Seq) {
	s := tx.s
	tx.record = tx.record[:0]
	if s.log == nil {
		return
	}
	n := len(tx.fresh)
	for _, t := range tx.writes {
		if len(t.next.changed) > 0 {
			n++
		}
	}
	tx.record = wal.BeginCommit(tx.record, seq, n)
	for _, f := range tx.fresh {
		tx.record = wal.AppendFresh(tx.record, f.number)
	}
	for _, t := range tx.writes {
		if len(t.next.changed) == 0 {
			continue
		}
		data := t.next.data
		if mutant.Off(mutant.W7) {
			data, _ = tx.see(t)
		}
		tx.record = wal.AppendChange(tx.record, t.number, t.next.changed, data)
	}
	wal.EndRecord(tx.record, 0, s.log.Salt())
}

func (s *Store) emptyRecord(to []byte, seq block.Seq) []byte {
	if s.log == nil {
		return to
	}
	to = wal.BeginCommit(to, seq, 0)
	wal.EndRecord(to, 0, s.log.Salt())
	return to
}

// install makes the new versions the heads of their chains. Nothing can fail from here on.
func (tx *Tx) install(seq block.Seq) {
	s := tx.s
	// The snapshot is not needed any more: what was read is held by references. So the transaction does not keep
	// the very versions that it replaces.
	tx.word.snap.Store(0)
	for _, t := range tx.writes {
		if len(t.next.changed) == 0 {
			continue // checks only
		}
		t.next.seq = seq
		t.chain.install(s, t.next)
		t.next = nil
		if !t.chain.dirty {
			t.chain.dirty = true
			s.shardOf(t.number).listDirty(t.chain)
		}
	}
}
