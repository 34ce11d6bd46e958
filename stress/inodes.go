package stress

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const (
	inodeBlocks  = 2
	inodeRecords = 8 // a block, each of which several writers change
	inodeAt      = 128
	inodeSize    = 32
)

// Fields at the beginning of each block.
var (
	inodeTime    = []merge.Field{{Off: 0, Width: 4}, {Off: 4, Width: 4}} // the newest, seconds and nanoseconds
	inodeChanges = merge.Field{Off: 8, Width: 8}                         // all changes of the block
	inodeTouches = merge.Field{Off: 16, Width: 8}                        // those of the time alone
	inodeMoves   = merge.Field{Off: 24, Width: 8}                        // rewrites of the whole block
)

// inodes is the workload of blocks whose records belong to several owners: a record is replaced (Extent) and the
// block's time raised (Max); or the time alone; or the whole block is rewritten. Each change counts itself twice, by an
// addition and in what it changed, so that every snapshot can be checked.
type inodes struct {
	run   *Run
	mu    sync.Mutex
	count [inodeBlocks]uint64 // guarded by mu: committed changes
	time  [inodeBlocks]uint64 // guarded by mu: the newest that was committed
}

func newInodes(r *Run) load                   { return &inodes{run: r} }
func (i *inodes) setup(context.Context) error { return nil }
func (i *inodes) touches() int                { return inodeBlocks }

func (i *inodes) step(tx *mvcc.Tx, w *writer) (func(), error) {
	n := block.Number(w.rng.IntN(inodeBlocks))
	time, err := w.rng.Uint64(), error(nil)
	switch w.rng.IntN(8) {
	case 0:
		time, err = 0, i.rewrite(tx, w, n)
	case 1, 2:
		err = i.touch(tx, n, time)
	default:
		err = i.replace(tx, w, n, time)
	}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.count[n]++
		i.time[n] = max(i.time[n], time)
	}, err
}

// touch raises the block's time.
func (i *inodes) touch(tx *mvcc.Tx, n block.Number, time uint64) error {
	if err := tx.Edit(n, merge.Add(inodeTouches, 1, 0, noLimit)); err != nil {
		return err
	}
	return i.stamp(tx, n, time)
}

func (i *inodes) stamp(tx *mvcc.Tx, n block.Number, time uint64) error {
	if err := tx.Edit(n, merge.Add(inodeChanges, 1, 0, noLimit)); err != nil {
		return err
	}
	return tx.Edit(n, merge.Max(inodeTime, []uint64{time >> 32, time & (1<<32 - 1)}))
}

// replace writes the next generation of a record.
func (i *inodes) replace(tx *mvcc.Tx, w *writer, n block.Number, time uint64) error {
	k := w.rng.IntN(inodeRecords)
	off, b := uint32(inodeAt+k*inodeSize), w.buf[:inodeSize]
	if err := tx.ReadRange(n, off, b); err != nil {
		return err
	}
	le := binary.LittleEndian
	prev, value := le.Uint64(b[8:]), w.fresh()
	w.read(key(n, k), prev)
	w.wrote(key(n, k), value, prev)
	le.PutUint64(b, le.Uint64(b)+1)
	le.PutUint64(b[8:], value)
	le.PutUint64(b[16:], ^value)
	le.PutUint64(b[24:], value*0x9e3779b97f4a7c15)
	if err := tx.Edit(n, merge.Extent(off, b)); err != nil {
		return err
	}
	return i.stamp(tx, n, time)
}

// rewrite replaces the whole block by a copy that counts it.
func (i *inodes) rewrite(tx *mvcc.Tx, w *writer, n block.Number) error {
	b, err := tx.ReadBlock(n)
	if err != nil {
		return err
	}
	b = slices.Clone(b)
	inodeMoves.Put(b, inodeMoves.Get(b)+1)
	inodeChanges.Put(b, inodeChanges.Get(b)+1)
	return tx.Edit(n, merge.Whole(b))
}

func (i *inodes) check(tx *mvcc.Tx, running bool) (bad []string) {
	le := binary.LittleEndian
	for n := range inodeBlocks {
		b, err := tx.ReadBlock(block.Number(n))
		if err != nil {
			return append(bad, err.Error())
		}
		parts := inodeTouches.Get(b) + inodeMoves.Get(b)
		for k := range inodeRecords {
			p := b[inodeAt+k*inodeSize:]
			parts += le.Uint64(p)
			if v := le.Uint64(p[8:]); v != 0 && (le.Uint64(p[16:]) != ^v || le.Uint64(p[24:]) != v*0x9e3779b97f4a7c15) {
				bad = append(bad, fmt.Sprintf("block %d, record %d holds parts of two writes", n, k))
			}
		}
		if changes := inodeChanges.Get(b); parts != changes {
			bad = append(bad, fmt.Sprintf("block %d counts %d changes, and its parts %d", n, changes, parts))
		}
		if !running {
			bad = append(bad, i.compare(b, n)...)
		}
	}
	return bad
}

// compare compares a block with the commits.
func (i *inodes) compare(b []byte, n int) (bad []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if have := inodeChanges.Get(b); have != i.count[n] {
		i.run.misses(i.count[n], have)
		bad = append(bad, fmt.Sprintf("block %d counts %d changes, and %d were committed", n, have, i.count[n]))
	}
	if have := inodeTime[0].Get(b)<<32 | inodeTime[1].Get(b); have != i.time[n] {
		bad = append(bad, fmt.Sprintf("block %d has the time %#x, and the newest that was committed is %#x", n, have,
			i.time[n]))
	}
	return bad
}
