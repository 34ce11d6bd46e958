package ext4

import (
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// span is a range of bytes of a file that is allocated, zeroed or freed.
type span struct {
	offset, length uint64
	keep           bool // leaves the size alone
	edges          bool // zeros the parts of blocks at its ends, and leaves whole blocks to step
	pointers       bool // is for files without extents, too
	// step works on file blocks at to end in one transaction, and returns where it stopped.
	step func(o *op, n *Inode, at, end uint64) (uint64, error)
}

// Allocate is fallocate(2): keep leaves the size alone.
func (w *Writable) Allocate(cred Cred, node Node, offset, length uint64, keep bool) error {
	return w.ranges(
		cred,
		node,
		span{offset, length, keep, false, false, func(o *op, n *Inode, at, end uint64) (uint64, error) {
			return o.preallocate(n, at, end, false)
		}},
	)
}

// Punch frees the whole blocks of a range, and zeros the rest.
func (w *Writable) Punch(cred Cred, node Node, offset, length uint64) error {
	return w.ranges(cred, node, span{offset, length, true, true, true, func(o *op, n *Inode,
		at, end uint64,
	) (uint64, error) {
		o.promised = true // as in the kernel, a hole can be punched where there is no room
		done, err := o.cut(n, at, end)
		o.promised = false
		if err != nil || done {
			return end, err
		}
		return at, nil
	}})
}

// ZeroRange makes a range read as zeros, and keeps it allocated.
func (w *Writable) ZeroRange(cred Cred, node Node, offset, length uint64, keep bool) error {
	err := w.ranges(cred, node, span{offset, length, keep, true, false, func(o *op, n *Inode,
		at, end uint64,
	) (uint64, error) {
		return o.preallocate(n, at, end, true)
	}})
	if err != nil {
		return err
	}
	return w.Allocate(cred, node, offset, length, keep)
}

// ranges works on a range in as many transactions as it needs: its edges with the first, the size with the last one.
func (w *Writable) ranges(cred Cred, node Node, s span) error {
	bs, stop := uint64(w.super.BlockSize), s.offset+s.length
	at, end := s.offset/bs, (stop+bs-1)/bs
	if s.edges {
		at, end = (s.offset+bs-1)/bs, stop/bs
	}
	if w.super.Incompat&disk.IncompatInlineData != 0 {
		// contents in the inode move out first, in a transaction of their own, as in the kernel
		err := w.do(opAllocate, cred, func(o *op) error { _, err := o.ranged(node, stop, s.pointers); return err })
		if err != nil {
			return err
		}
	}
	for first := true; first || at < end; first = false {
		next := end
		err := w.do(opAllocate, cred, func(o *op) error {
			n, err := o.ranged(node, stop, s.pointers)
			if err != nil {
				return err
			}
			if first && s.edges {
				if err := o.zeroEdges(n, s.offset, stop); err != nil {
					return err
				}
			}
			if at < end {
				if next, err = s.step(o, n, at, end); err != nil {
					return err
				}
			}
			if err := o.dropCapabilities(n); err != nil {
				return err
			}
			if cred.UID != 0 { // the request does not say whether its thread has CAP_FSETID
				if err := o.clearBits(n); err != nil {
					return err
				}
			}
			if next >= end && !s.keep && stop > n.Size {
				if err := o.setSize(n, stop, true); err != nil {
					return err
				}
			}
			return o.stamp(n, disk.OffMtime, disk.OffCtime)
		})
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// ranged reads a file whose range up to stop is to be changed. pointers says that it may be one without extents.
func (o *op) ranged(node Node, stop uint64, pointers bool) (*Inode, error) {
	n, err := o.inode(node)
	switch {
	case err != nil:
		return nil, err
	case n.IsDir():
		return nil, ErrIsDir
	case !n.IsRegular():
		return nil, ErrInvalid
	case n.Has(disk.InodeImmutable), n.Has(disk.InodeAppend):
		return nil, ErrNotPermit
	case !pointers &&
		(!n.Has(disk.InodeExtents|disk.InodeInlineData) || o.w.super.Incompat&disk.IncompatExtents == 0):
		return nil, ondisk.ErrUnsupported
	case stop > o.w.maxSize(n):
		return nil, ErrTooBig
	}
	if err := n.writableContents(); err != nil {
		return nil, err
	}
	if stop > n.Size {
		if err := o.checkCut(n); err != nil {
			return nil, err
		}
	}
	if n.Has(disk.InodeInlineData) {
		return n, o.moveOut(n)
	}
	return n, o.dependMap(n)
}

// zeroEdges zeros the parts of blocks at both ends of a range.
func (o *op) zeroEdges(n *Inode, from, to uint64) error {
	bs := uint64(o.w.super.BlockSize)
	if from/bs == to/bs {
		return o.zero(n, from/bs, from%bs, to%bs)
	}
	if from%bs != 0 {
		if err := o.zero(n, from/bs, from%bs, bs); err != nil {
			return err
		}
	}
	return o.zero(n, to/bs, 0, to%bs)
}

// preallocate maps the holes of a range as unwritten, and with zero set, what is written, too. It returns where it
// stopped.
func (o *op) preallocate(n *Inode, at, end uint64, zero bool) (uint64, error) {
	for steps := 0; at < end && steps < maxCut; steps++ {
		r, err := n.Map(FileBlock(at))
		if err != nil {
			return at, err
		}
		length := min(r.Len, end-at)
		switch {
		case r.Kind == Hole:
			e, err := o.blocksFor(n, at, uint32(min(length, uint64(disk.MaxExtentLen(true)))), o.allocate)
			if err != nil {
				return at, err
			}
			length, e.Unwritten = uint64(e.Len), true
			if err := o.mapBlocks(n, e); err != nil {
				return at, err
			}
		case r.Kind == Data && zero:
			e := disk.Extent{File: FileBlock(at), Len: uint32(length), Start: r.Start, Unwritten: true}
			if err := o.remap(n, e); err != nil {
				return at, err
			}
		}
		at += length
	}
	return at, nil
}
