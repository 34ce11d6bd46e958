package mvcc

import (
	"context"
	"fmt"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// Isolation is a level of isolation: it excludes certain anomalies.
type Isolation uint8

// The levels. Snapshot validates the ranges given to Depend; Serializable validates all that was read.
const (
	Snapshot Isolation = iota
	Serializable
)

func (i Isolation) String() string { return [...]string{"snapshot", "serializable"}[i] }

// Tx is a transaction: a snapshot, and edits on it.
type Tx struct {
	s         *Store
	slot      snapshotSlot
	ctx       context.Context
	snap      block.Seq
	seq       block.Seq // once committed
	priority  uint64    // of its first attempt (M5)
	first     uint64    // snapshot of its first attempt, plus one
	lost      int       // races lost before
	count     uint64    // uses of this object
	work      int       // transactions and blocks since the last yield
	isolation Isolation
	readonly  bool
	done      bool
	waited    time.Duration
	began     time.Time // zero unless measured
	touched   []touched
	places    map[block.Number]int // in touched, where there are many
	writes    []*touched           // of commit, ascending
	queues    []*waitQueue         // held, ascending by block
	groups    []uint64
	freed     []block.Number
	fresh     []fresh              // ordered data
	freshAt   map[block.Number]int // in fresh
	homes     []homeWrite
	admitted  bool // by the durability, which has it released
	record    wal.Record
	hooks     []func()
	sequenced []func(block.Seq)
	result    merge.Result
	loser     *chain // where a conflict was
	restart   *chain // whose queue it has to wait in first
	overCap   *chain // has more history than the cap
	queueHeld bool   // another transaction holds the queue of a block
	update    bool   // Update runs it, and again
	mergedAny bool
	durable   bool
}

// Seq is the snapshot of the transaction; after it has committed, its commit sequence.
func (tx *Tx) Seq() block.Seq {
	if tx.seq != 0 {
		return tx.seq
	}
	return tx.snap
}

// ReadBlock returns a block as the snapshot sees it, with this transaction's own edits. The bytes have the length of a
// block, must not be changed, and stay valid until the next Edit of the block or the end of the transaction.
func (tx *Tx) ReadBlock(n block.Number) ([]byte, error) {
	if f := tx.freshBlock(n); f != nil {
		return f.data, nil
	}
	t, err := tx.touch(n)
	if err != nil {
		return nil, err
	}
	if tx.isolation == Serializable {
		t.all = true
	}
	return tx.current(t)
}

// ReadRange is ReadBlock for len(p) bytes at an offset of the block, which it copies. At Serializable the transaction
// depends on these bytes only.
func (tx *Tx) ReadRange(n block.Number, off uint32, p []byte) error {
	if uint64(off)+uint64(len(p)) > uint64(tx.s.size) {
		return fmt.Errorf("%w: bytes %d to %d of a block of %d", merge.ErrOutside, off, uint64(off)+uint64(len(p)), tx.s.size)
	}
	if f := tx.freshBlock(n); f != nil {
		copy(p, f.data[off:])
		return nil
	}
	t, err := tx.touch(n)
	if err != nil {
		return err
	}
	if tx.isolation == Serializable {
		t.depends = append(t.depends, merge.Range{Off: off, Len: uint32(len(p))})
	}
	b, err := tx.current(t)
	if err == nil {
		copy(p, b[off:])
	}
	return err
}

// Edit changes a block. An edit that cannot be applied to what the transaction sees is an error of package merge, and
// is not part of the transaction.
func (tx *Tx) Edit(n block.Number, e merge.Edit) error {
	if tx.readonly {
		return ErrReadOnly
	}
	if f := tx.freshBlock(n); f != nil {
		return f.edit(&e)
	}
	t, err := tx.touch(n)
	if err != nil {
		return err
	}
	if e.Total(len(t.base)) {
		if len(t.view) > 0 { // else nothing needs it yet: one replay makes it, and it is kept from then on
			_, _ = merge.Apply(t.view, &e)
		}
		t.edits, t.placed = append(t.edits, e), append(t.placed, 0)
		return nil
	}
	if _, err := tx.current(t); err != nil {
		return err
	}
	if len(t.edits) == 0 {
		t.view = append(t.view[:0], t.base...)
	}
	at, err := merge.Apply(t.view, &e)
	if err != nil {
		if tx.isolation == Serializable && !mutant.Off(mutant.FailedEdit) {
			t.all = true // the caller has learnt something about the block
		}
		if e.Kind() == merge.KindReapply {
			t.view = t.view[:0] // it may be half changed
		}
		return fmt.Errorf("%s in %v: %w", e.Kind(), n, err)
	}
	t.edits, t.placed = append(t.edits, e), append(t.placed, at)
	return nil
}

// Placed is the offset in the block at which the transaction's edit number i of block n, an append, landed: as the
// transaction saw it before the commit, and finally after it. Before the commit this is a read: at Serializable the
// transaction depends on it.
func (tx *Tx) Placed(n block.Number, i int) (uint32, bool) {
	var placed []uint32
	if f := tx.freshBlock(n); f != nil {
		placed = f.placed
	} else if t := tx.find(n); t != nil {
		placed = t.placed
		tx.readPlace(t, i)
	}
	if i < 0 || i >= len(placed) {
		return 0, false
	}
	return placed[i], true
}

// readPlace makes the place of an append, asked before the commit, a read.
func (tx *Tx) readPlace(t *touched, i int) {
	if tx.isolation != Serializable || tx.seq != 0 || i < 0 || i >= len(t.edits) || mutant.Off(mutant.FailedEdit) {
		return
	}
	if r, ok := t.edits[i].Used(); ok {
		t.depends = append(t.depends, r)
	}
}

// Depend declares that the transaction's edits follow from these bytes of a block: if another commit changes them
// first, it conflicts (M4).
func (tx *Tx) Depend(n block.Number, r merge.Range) error {
	if uint64(r.Off)+uint64(r.Len) > uint64(tx.s.size) {
		return fmt.Errorf(
			"%w: bytes %d to %d of a block of %d",
			merge.ErrOutside,
			r.Off,
			uint64(r.Off)+uint64(r.Len),
			tx.s.size,
		)
	}
	if tx.freshBlock(n) != nil || mutant.Off(mutant.Depends) {
		return nil // its contents are this transaction's
	}
	t, err := tx.touch(n)
	if err != nil {
		return err
	}
	t.depends = append(t.depends, r)
	return nil
}

// Tag gives the kind of a block that the transaction changes, for the sealer.
func (tx *Tx) Tag(n block.Number, tag Tag) error {
	t, err := tx.touch(n)
	if err == nil {
		t.tag = tag
	}
	return err
}

// Versioned reports whether a block has versions: its sealed fields are not valid then.
func (tx *Tx) Versioned(n block.Number) bool {
	if t := tx.find(n); t != nil {
		return t.chain != nil || len(t.edits) > 0
	}
	_, ok := tx.s.chains.index.Load(n)
	return ok
}

// Free declares that the transaction makes a block free. Store.Reusable reports when it may be used again (W4).
func (tx *Tx) Free(n block.Number) { tx.freed = append(tx.freed, n) }

// OnCommit has a function called when the transaction has committed, before Commit or Update returns: Placed then
// has the final offsets.
func (tx *Tx) OnCommit(do func()) { tx.hooks = append(tx.hooks, do) }

// Sequenced has a function called with the commit's sequence before the commit can be seen. All commits wait
// meanwhile: it must be short, and it must not call the store. Nothing is committed if it panics; another commit then
// gets the sequence.
func (tx *Tx) Sequenced(do func(block.Seq)) { tx.sequenced = append(tx.sequenced, do) }

// Group makes the transaction one of a group's, such as an inode's, for Store.Standing and Store.SyncGroup (E1).
func (tx *Tx) Group(key uint64) { tx.groups = append(tx.groups, key) }

// end releases all that the transaction holds.
func (tx *Tx) end() {
	if tx.done {
		return
	}
	tx.done = true
	if tx.admitted {
		tx.admitted = false
		tx.s.durability.release()
	}
	tx.work += 1 + len(tx.touched)
	tx.slot.snap.Store(0)
	if tx.slot.name.Load() != nil {
		tx.slot.name.Store(nil)
	}
	for i := range tx.touched {
		tx.touched[i].reset(&tx.s.chains.versions)
	}
	tx.touched = tx.touched[:0]
	tx.places = reuseMap(tx.places)
	tx.writes = tx.writes[:0]
	tx.leaveQueues()
}
