package ext4

import (
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ownBlocks are the blocks of the file system's own tables: superblocks and descriptors with their copies, bitmaps,
// inode tables, the journal, and the block of multiple mount protection. A file that refers to one of them is damaged.
// To write its data there, or to free the block, would spread the damage from one file to all (kernel,
// fs/ext4/block_validity.c).
type ownBlocks struct {
	spans []ownSpan // sorted and disjoint once sealed
}

// ownSpan is the blocks from first up to end.
type ownSpan struct{ first, end block.Number }

func (o *ownBlocks) add(first block.Number, n uint64) {
	if n > 0 {
		o.spans = append(o.spans, ownSpan{first, first + block.Number(n)})
	}
}

// seal sorts the spans and joins neighbours: the tables of a flexible group of groups are few spans. Spans that
// overlap are damage: a write to one would change the other (kernel, fs/ext4/block_validity.c: add_system_zone).
func (o *ownBlocks) seal() error {
	slices.SortFunc(o.spans, func(a, b ownSpan) int {
		if a.first < b.first {
			return -1
		}
		return int(min(a.first-b.first, 1))
	})
	out := o.spans[:0]
	for _, s := range o.spans {
		k := len(out) - 1
		switch {
		case k < 0 || s.first > out[k].end:
			out = append(out, s)
		case s.first < out[k].end && !mutant.Off(mutant.GroupChecks):
			return ondisk.Corruptf(fmt.Sprintf("block %d", uint64(s.first)),
				"two of the file system's own tables have it: repair the image with e2fsck")
		default:
			out[k].end = max(out[k].end, s.end)
		}
	}
	o.spans = slices.Clip(out)
	return nil
}

// check refuses blocks for a file of which one is the file system's own.
func (o *ownBlocks) check(first block.Number, n uint64) error {
	i, _ := slices.BinarySearchFunc(o.spans, first, func(s ownSpan, b block.Number) int {
		if s.end <= b {
			return -1
		}
		return 1
	})
	if i < len(o.spans) && o.spans[i].first < first+block.Number(n) && !mutant.Off(mutant.OwnBlocks) {
		return ondisk.Corruptf(fmt.Sprintf("block %d", uint64(max(first, o.spans[i].first))),
			"a file holds a block of the file system's own: check the image with e2fsck")
	}
	return nil
}

// ownBlocks finds the file system's own blocks.
func (fs *FS) ownBlocks() (o ownBlocks, err error) {
	s := fs.super
	tables := uint64(s.ITableBlocks())
	for g := range s.Groups() {
		d, err := fs.GroupDesc(g)
		if err != nil {
			return o, err
		}
		o.add(s.GroupFirst(g), fs.groupOverhead(g)-2-tables)
		o.add(d.BlockBitmap, 1)
		o.add(d.InodeBitmap, 1)
		o.add(d.InodeTable, tables)
	}
	if s.Incompat&disk.IncompatMMP != 0 {
		o.add(s.MMPBlock, 1)
	}
	if s.Compat&disk.CompatHasJournal != 0 && s.JournalIno != 0 {
		places, _, err := fs.JournalPlaces()
		if err != nil {
			return o, err
		}
		for _, at := range places {
			o.add(at, 1)
		}
	}
	return o, o.seal()
}

// writeHome writes file data to its blocks, from an offset in the first one on.
func (o *op) writeHome(start block.Number, off uint32, data []byte, ordered bool) error {
	bs := uint64(o.w.super.BlockSize)
	if err := o.w.own.check(start, (uint64(off)+uint64(len(data))+bs-1)/bs); err != nil {
		return err
	}
	return o.tx.WriteHome(start, off, data, ordered)
}
