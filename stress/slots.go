package stress

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// slotSize is the number of bytes that one transaction reads and changes.
const slotSize = 32

// slots is the workload of reading and changing a slot of a block: its value and a count, both of them only by who has
// read them.
type slots struct {
	run    *Run
	blocks int
	per    int // slots a block
	pick   func(*Run, *writer) block.Number
	cross  bool // read other slots, too, while the history is recorded
}

func hotBlock(*Run, *writer) block.Number        { return 0 }
func zipfBlock(_ *Run, w *writer) block.Number   { return block.Number(w.zipf.Uint64()) }
func ownBlock(_ *Run, w *writer) block.Number    { return block.Number(w.id) }
func (s *slots) setup(ctx context.Context) error { return nil }
func (s *slots) touches() int                    { return s.blocks }

// sharedSlots is how many slots of a block all writers change while the history is recorded: then they conflict.
const sharedSlots = 8

// slot is the writer's own one; while the history is recorded, one that it shares.
func (s *slots) slot(w *writer) int {
	if w.rec != nil && s.cross {
		return w.rng.IntN(min(s.per, sharedSlots))
	}
	return w.id % s.per
}

func newSlots(blocks int, pick func(*Run, *writer) block.Number) func(*Run) load {
	return func(r *Run) load {
		return &slots{run: r, blocks: blocks, pick: pick, per: int(r.store.BlockSize()) / slotSize,
			cross: r.work.name != "disjoint"}
	}
}

func (s *slots) step(tx *mvcc.Tx, w *writer) (func(), error) {
	n, slot := s.pick(s.run, w), s.slot(w)
	off := uint32(slot * slotSize)
	if err := tx.ReadRange(n, off, w.buf[:slotSize]); err != nil {
		return nil, err
	}
	if w.rec == nil || w.rng.Uint32()%2 == 0 { // the set itself stands only where its bytes are as they were
		if err := tx.Depend(n, merge.Range{Off: off, Len: slotSize}); err != nil {
			return nil, err
		}
	}
	if w.rec != nil && s.cross { // disjoint writers touch one key each, for porcupine
		if err := s.readOther(tx, w); err != nil {
			return nil, err
		}
	}
	prev := binary.LittleEndian.Uint64(w.buf)
	value := w.fresh()
	w.read(key(n, slot), prev)
	w.wrote(key(n, slot), value, prev)
	binary.LittleEndian.PutUint64(w.buf, value)
	binary.LittleEndian.PutUint64(w.buf[8:], binary.LittleEndian.Uint64(w.buf[8:])+1)
	binary.LittleEndian.PutUint64(w.buf[16:], ^value)
	binary.LittleEndian.PutUint64(w.buf[24:], value*0x9e3779b97f4a7c15)
	if err := tx.Edit(n, merge.Set(off, w.buf[:slotSize])); err != nil {
		return nil, err
	}
	return nothing, nil
}

// readOther reads some other slot, so that the history has something to be wrong about.
func (s *slots) readOther(tx *mvcc.Tx, w *writer) error {
	n, slot := s.pick(s.run, w), w.rng.IntN(min(s.per, sharedSlots))
	var b [8]byte
	if err := tx.ReadRange(n, uint32(slot*slotSize), b[:]); err != nil {
		return err
	}
	w.read(key(n, slot), binary.LittleEndian.Uint64(b[:]))
	return nil
}

func (s *slots) check(tx *mvcc.Tx, running bool) (bad []string) {
	total := uint64(0)
	for n := range s.blocks {
		b, err := tx.ReadBlock(block.Number(n))
		if err != nil {
			return append(bad, err.Error())
		}
		for i := range s.per {
			p := b[i*slotSize:]
			v := binary.LittleEndian.Uint64(p)
			total += binary.LittleEndian.Uint64(p[8:])
			if v != 0 && (binary.LittleEndian.Uint64(p[16:]) != ^v ||
				binary.LittleEndian.Uint64(p[24:]) != v*0x9e3779b97f4a7c15) {
				bad = append(bad, fmt.Sprintf("block %d, slot %d holds parts of two writes", n, i))
			}
		}
	}
	return append(bad, s.run.compare("changes of slots", total, running)...)
}

// counter is one field that all add to.
type counter struct{ run *Run }

var countField = merge.Field{Off: 64, Width: 8}

const noLimit = ^uint64(0) >> 1

func newCounter(r *Run) load                   { return &counter{r} }
func (c *counter) setup(context.Context) error { return nil }
func (c *counter) touches() int                { return 1 }

func (c *counter) step(tx *mvcc.Tx, w *writer) (func(), error) {
	w.wrote(0, 1, 0)
	return nothing, tx.Edit(0, merge.Add(countField, 1, 0, noLimit))
}

// reads: now and then, while the history is recorded.
func (c *counter) reads(w *writer) bool { return w.rec != nil && w.rng.IntN(4) == 0 }

func (c *counter) read(tx *mvcc.Tx, w *writer) error {
	b, err := tx.ReadBlock(0)
	if err == nil {
		w.read(0, countField.Get(b))
	}
	return err
}

func (c *counter) check(tx *mvcc.Tx, running bool) []string {
	b, err := tx.ReadBlock(0)
	if err != nil {
		return []string{err.Error()}
	}
	return c.run.compare("additions", countField.Get(b), running)
}
