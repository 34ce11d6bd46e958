package mvcc

import (
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
)

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

// freshBlock finds a block that the transaction gave new contents; nil for all others.
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
