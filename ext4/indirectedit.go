package ext4

import (
	"encoding/binary"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// pointer is the place of a block pointer: in the inode, or in an indirect block.
type pointer struct {
	at  block.Number // 0: in the inode
	off uint32
}

func (o *op) putPointer(n *Inode, p pointer, to block.Number) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(to))
	if p.at != 0 {
		return o.edit(p.at, kindPlain, 0, merge.Set(p.off, b))
	}
	n.Block = slices.Clone(n.Block)
	copy(n.Block[p.off:], b)
	return o.setInode(n.Ino, disk.OffBlock+p.off, b)
}

// setPointer maps a file block of an inode without extents, and makes the indirect blocks on the way.
func (o *op) setPointer(n *Inode, b uint64, to block.Number) error {
	if to >= 1<<32 {
		return ErrNoSpace
	}
	if b < directPointers {
		return o.putPointer(n, pointer{0, uint32(b) * pointerSize}, to)
	}
	per := uint64(o.w.super.BlockSize) / pointerSize
	rest, span := b-directPointers, uint64(1)
	for level := range 3 {
		if rest < span*per {
			return o.setPointerBelow(n, pointer{0, uint32(directPointers+level) * pointerSize}, rest, span, to)
		}
		rest -= span * per
		span *= per
	}
	return ErrTooBig
}

func (o *op) setPointerBelow(n *Inode, slot pointer, rest, span uint64, to block.Number) error {
	per := uint64(o.w.super.BlockSize) / pointerSize
	at := block.Number(binary.LittleEndian.Uint32(n.Block[slot.off:]))
	for {
		if at == 0 {
			var err error
			if at, err = o.allocateOne(n); err != nil {
				return err
			}
			if at >= 1<<32 {
				return ErrNoSpace
			}
			if err := o.edit(at, kindPlain, 0, merge.Whole(make([]byte, o.w.super.BlockSize))); err != nil {
				return err
			}
			if err := o.putPointer(n, slot, at); err != nil {
				return err
			}
			if err := o.addClusters(n, 1); err != nil {
				return err
			}
		}
		slot = pointer{at, uint32(rest/span) * pointerSize}
		if span == 1 {
			return o.putPointer(n, slot, to)
		}
		p, err := o.fs.block(at)
		if err != nil {
			return err
		}
		at = block.Number(binary.LittleEndian.Uint32(p[slot.off:]))
		rest %= span
		span /= per
	}
}

// pointerCut is one call of cutPointers.
type pointerCut struct {
	o        *op
	n        *Inode
	from, to uint64
	limit    int         // runs of blocks that may still be freed
	run      disk.Extent // without its file blocks
	done     bool
}

// cutPointers is cutExtents for an inode without extents. Blocks are always freed.
func (o *op) cutPointers(n *Inode, from, to uint64, limit int) (done bool, err error) {
	c := &pointerCut{o: o, n: n, from: from, to: to, limit: limit, done: true}
	for i := range uint64(directPointers) {
		if err := c.slot(pointer{0, uint32(i) * pointerSize}, i, 1, 0); err != nil {
			return false, err
		}
	}
	per := uint64(o.w.super.BlockSize) / pointerSize
	base, span := uint64(directPointers), uint64(1)
	for level := range 3 {
		if err := c.slot(pointer{0, uint32(directPointers+level) * pointerSize}, base, span*per, level+1); err != nil {
			return false, err
		}
		base += span * per
		span *= per
	}
	return c.done, c.flush()
}

func (c *pointerCut) flush() error {
	if c.run.Len == 0 {
		return nil
	}
	e := c.run
	c.run = disk.Extent{}
	return c.o.freeBlocks(c.n, e)
}

// slot cuts what a pointer stands for: span file blocks from base on, through so many levels of indirect blocks.
func (c *pointerCut) slot(at pointer, base, span uint64, level int) error {
	if base+span <= c.from || base >= c.to || !c.done {
		return nil
	}
	p := c.n.Block
	if at.at != 0 {
		var err error
		if p, err = c.o.fs.block(at.at); err != nil {
			return err
		}
	}
	to := block.Number(binary.LittleEndian.Uint32(p[at.off:]))
	if to == 0 {
		return nil
	}
	if !c.o.w.super.Contains(to, 1) {
		return c.n.badPointer(to)
	}
	if level == 0 {
		if c.run.Len == 0 || c.run.Start+block.Number(c.run.Len) != to {
			if c.limit--; c.limit < 0 {
				c.done = false
				return nil
			}
			if err := c.flush(); err != nil {
				return err
			}
			c.run = disk.Extent{Start: to}
		}
		c.run.Len++
		return c.o.putPointer(c.n, at, 0)
	}
	per := uint64(c.o.w.super.BlockSize) / pointerSize
	if err := c.o.tx.Depend(to, merge.Range{Len: uint32(c.o.w.super.BlockSize)}); err != nil {
		return err
	}
	for i := range per {
		if err := c.slot(pointer{to, uint32(i) * pointerSize}, base+i*(span/per), span/per, level-1); err != nil {
			return err
		}
	}
	q, err := c.o.fs.block(to)
	if err != nil {
		return err
	}
	for _, b := range q {
		if b != 0 {
			return nil
		}
	}
	if err := c.o.freeOne(to); err != nil {
		return err
	}
	if err := c.o.addClusters(c.n, -1); err != nil {
		return err
	}
	return c.o.putPointer(c.n, at, 0)
}
