package mvcc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/invariant"
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

// fresh is ordered data: a newly allocated block that goes home before its commit.
type fresh struct {
	number block.Number
	data   []byte
	placed []uint32 // of the edits of it; data is the transaction's own then
}

// homeWrite is file data that goes to its own place before the commit.
type homeWrite struct {
	number  block.Number
	off     uint32
	data    []byte
	ordered bool
}

// blocks is how many blocks the data lies in.
func (h homeWrite) blocks(size block.Size) int {
	return (int(h.off) + len(h.data) + int(size) - 1) / int(size)
}

// touched is a block that a transaction read or changed.
type touched struct {
	number  block.Number
	chain   *chain   // nil: there was none
	held    *version // reference that keeps base alive
	base    []byte   // the block as the snapshot sees it
	copied  []byte   // memory for base, where history was composed
	view    []byte   // base with the edits, where it was asked for
	edits   []merge.Edit
	placed  []uint32
	depends []merge.Range
	all     bool // depends on the whole block
	latched bool
	stood   bool // newest was base
	tag     Tag
	next    *version
}

// reset ends the use of a touched block, and keeps its memory.
func (t *touched) reset(pool *versionPool) {
	if t.held != nil {
		t.held.release(pool)
	}
	if t.next != nil {
		t.next.release(pool)
	}
	clear(t.edits)
	*t = touched{copied: t.copied, edits: t.edits[:0], placed: t.placed[:0], depends: t.depends[:0], view: t.view[:0]}
}

// Seq is the snapshot of the transaction; after it has committed, its commit sequence.
func (tx *Tx) Seq() block.Seq {
	if tx.seq != 0 {
		return tx.seq
	}
	return tx.snap
}

// touch finds or loads a block at the snapshot.
func (tx *Tx) touch(n block.Number) (*touched, error) {
	if tx.done {
		return nil, ErrDone
	}
	if t := tx.find(n); t != nil {
		return t, nil
	}
	if n >= tx.s.blocks {
		return nil, fmt.Errorf("%v: %w of %d blocks", n, ErrNoBlock, tx.s.blocks)
	}
	c, _ := tx.s.chains.index.Load(n)
	if c != nil && !tx.readonly {
		in := len(tx.queues)
		if err := tx.waitInQueue(c); err != nil {
			return nil, err
		}
		if len(tx.queues) > in &&
			!mutant.Off(mutant.WaitedChain) { // the snapshot is a newer one, and the chain may have been dropped before it
			c, _ = tx.s.chains.index.Load(n)
		}
	}
	k := len(tx.touched)
	if k < cap(tx.touched) {
		tx.touched = tx.touched[:k+1]
	} else {
		tx.touched = append(tx.touched, touched{})
	}
	t := &tx.touched[k]
	t.number = n
	if err := tx.load(t, c); err != nil {
		t.reset(&tx.s.chains.versions)
		tx.touched = tx.touched[:k]
		return nil, err
	}
	if k >= fewTouched {
		tx.place(k)
	}
	return t, nil
}

// fewTouched is how many touched blocks are found by looking at each.
const fewTouched = 32

// place makes a touched block, and at the first call those before it, one of the map's.
func (tx *Tx) place(k int) {
	if tx.places == nil {
		tx.places = map[block.Number]int{}
	}
	if len(tx.places) == 0 {
		for i := range tx.touched {
			tx.places[tx.touched[i].number] = i
		}
	}
	tx.places[tx.touched[k].number] = k
}

// reuseMap is an empty map to go on with: not a large one, which takes its time to clear again and again.
func reuseMap(m map[block.Number]int) map[block.Number]int {
	if len(m) > 1024 {
		return nil
	}
	if len(m) > 0 {
		clear(m)
	}
	return m
}

// find is the block among those that the transaction touched, or nil.
func (tx *Tx) find(n block.Number) *touched {
	if len(tx.touched) > fewTouched {
		if i, ok := tx.places[n]; ok {
			return &tx.touched[i]
		}
		return nil
	}
	for i := range tx.touched {
		if tx.touched[i].number == n {
			return &tx.touched[i]
		}
	}
	return nil
}

// load sets a block's base.
func (tx *Tx) load(t *touched, c *chain) error {
	if c == nil {
		data, err := tx.s.clean.ReadBlock(t.number)
		// The first write of the block may have come meanwhile, and its checkpoint may have written while this read.
		if c, _ = tx.s.chains.index.Load(t.number); c == nil {
			t.base = data
			return err
		}
	}
	t.chain = c
	v, exact := c.visible(tx.snap, &tx.s.chains.versions)
	if exact {
		if invariant.On {
			invariant.Must(invariant.SnapshotVisibility(t.number, v.seq, tx.snap))
		}
		t.held, t.base = v, v.data
		if tx.readonly && mutant.Off(mutant.M2) {
			t.held = nil
			v.release(&tx.s.chains.versions)
		}
		return nil
	}
	defer v.release(&tx.s.chains.versions)
	if t.copied == nil {
		t.copied = make([]byte, tx.s.size)
	}
	ok, err := v.reconstruct(tx.snap, t.copied)
	if err == nil && !ok {
		err = fmt.Errorf("history of %v does not reach back to snapshot %d: this is a bug", t.number, tx.snap)
	}
	t.base = t.copied
	return err
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

// current returns base with the transaction's own edits.
func (tx *Tx) current(t *touched) ([]byte, error) {
	if len(t.edits) == 0 {
		return t.base, nil
	}
	if len(t.view) == 0 {
		if err := t.replay(); err != nil {
			return nil, err
		}
	}
	return t.view, nil
}

// replay makes the view of a block.
func (t *touched) replay() error {
	t.view = append(t.view[:0], t.base...)
	for i := range t.edits {
		if _, err := merge.Apply(t.view, &t.edits[i]); err != nil {
			t.view = t.view[:0]
			return err
		}
	}
	return nil
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

// WriteNew gives a newly allocated block its contents. They go home before the transaction commits (W3), and never
// become a version: no other transaction may know the block yet. The bytes are kept until then. From here on the
// transaction reads and edits these contents; a block that it has edited before is refused with ErrEdited.
func (tx *Tx) WriteNew(n block.Number, data []byte) error {
	switch {
	case tx.done:
		return ErrDone
	case tx.readonly:
		return ErrReadOnly
	case n >= tx.s.blocks || len(data) != int(tx.s.size):
		return fmt.Errorf("%d bytes for %v: %w of %d blocks of %d bytes", len(data), n, ErrNoBlock, tx.s.blocks, tx.s.size)
	}
	if t := tx.find(n); t != nil && len(t.edits) > 0 {
		return fmt.Errorf("new contents for %v: %w", n, ErrEdited)
	}
	if f := tx.freshBlock(n); f != nil {
		f.data, f.placed = data, nil
		return nil
	}
	if tx.freshAt == nil {
		tx.freshAt = map[block.Number]int{}
	}
	tx.freshAt[n] = len(tx.fresh)
	tx.fresh = append(tx.fresh, fresh{number: n, data: data})
	return nil
}

// freshBlock is the block among those that the transaction gave new contents, or nil.
func (tx *Tx) freshBlock(n block.Number) *fresh {
	if len(tx.fresh) == 0 {
		return nil
	}
	if i, ok := tx.freshAt[n]; ok && !mutant.Off(mutant.FreshEdit) {
		return &tx.fresh[i]
	}
	return nil
}

// edit changes new contents: on a copy, the first of which leaves the caller's bytes as they are.
func (f *fresh) edit(e *merge.Edit) error {
	data := slices.Clone(f.data)
	at, err := merge.Apply(data, e)
	if err != nil {
		return fmt.Errorf("%s in %v: %w", e.Kind(), f.number, err)
	}
	f.data, f.placed = data, append(f.placed, at)
	return nil
}

// WriteHome writes file data to its own place, from byte off of block n on, before the transaction commits: what the
// commit makes readable, above all newly allocated blocks, which no other transaction knows yet (ordered: W3), or an
// overwrite, of which a crash or a reader may see any part (W6). The data is kept until then. It never becomes a
// version, and blocks that hold it must not be read through the store.
func (tx *Tx) WriteHome(n block.Number, off uint32, data []byte, ordered bool) error {
	end := uint64(off) + uint64(len(data))
	switch {
	case tx.done:
		return ErrDone
	case tx.readonly:
		return ErrReadOnly
	case n >= tx.s.blocks || uint64(n)+(end+uint64(tx.s.size)-1)/uint64(tx.s.size) > uint64(tx.s.blocks):
		return fmt.Errorf("%d bytes for %v: %w of %d blocks of %d bytes", len(data), n, ErrNoBlock, tx.s.blocks, tx.s.size)
	}
	tx.homes = append(tx.homes, homeWrite{n, off, data, ordered})
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
