package ext4

import (
	"errors"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// maxCut is how many extents one transaction unmaps: each may be in a group of its own, and each group's bitmap is a
// block of the epoch (J9).
const maxCut = 12

// cut unmaps and frees blocks of a file, and reports whether that is all of them. A file with its
// contents in its inode has none.
func (o *op) cut(n *Inode, from, to uint64) (done bool, err error) {
	return o.cutRuns(n, from, to, maxCut)
}

// cutRuns is cut of at most so many runs.
func (o *op) cutRuns(n *Inode, from, to uint64, limit int) (done bool, err error) {
	if err := o.dependMap(n); err != nil {
		return false, err
	}
	if n.Has(disk.InodeInlineData) {
		return true, nil
	}
	if n.Has(disk.InodeExtents) {
		return o.cutExtents(n, from, to, true, limit)
	}
	return o.cutPointers(n, from, to, limit)
}

// truncate sets a file's size, and frees what lies behind it. Blocks that one transaction cannot free are left to
// finish: the inode is an orphan until then.
func (o *op) truncate(n *Inode, size uint64) (done bool, err error) {
	switch {
	case n.IsDir():
		return false, ErrIsDir
	case !n.IsRegular():
		return false, ErrInvalid
	case size > o.w.maxSize(n):
		return false, ErrTooBig
	}
	bs := uint64(o.w.super.BlockSize)
	if err := o.checkCut(n); err != nil {
		return false, err
	}
	if err := o.dependInode(n.Ino, disk.OffSizeLow, 4); err != nil {
		return false, err
	}
	done, o.what = true, "truncate"
	if n.Has(disk.InodeInlineData) {
		return true, o.truncateInline(n, size)
	}
	o.w.alloc.closeWindow(n.Ino)
	if size < n.Size {
		if err := o.dependMap(n); err != nil {
			return false, err
		}
		if size%bs != 0 {
			if err := o.zero(n, size/bs, size%bs, bs); err != nil {
				return false, err
			}
		}
	}
	if size <= n.Size { // the kernel, too, frees what was allocated behind the end when the size stays
		if done, err = o.cut(n, (size+bs-1)/bs, maxFileBlocks); err != nil {
			return false, err
		}
	}
	o.reach("blocks")
	if size == n.Size && done {
		return true, nil
	}
	if !done {
		o.orphans = append(o.orphans, orphanChange{ino: n.Ino, add: true, cut: true})
	}
	err = o.setSize(n, size, false)
	o.reach("inode")
	return done, err
}

// finishTruncate frees the blocks behind the end of a file, transaction by transaction, and takes it off the list of
// orphans.
func (w *Writable) finishTruncate(ino Ino) error {
	for done := false; !done; {
		err := w.do(opSetattr, Cred{}, func(o *op) error {
			n := new(Inode)
			if err := o.fs.ReadInode(n, ino); err != nil {
				return err
			}
			bs := uint64(w.super.BlockSize)
			var err error
			o.what = "finish truncate"
			if done, err = o.cut(n, (n.Size+bs-1)/bs, maxFileBlocks); err != nil || !done {
				return err
			}
			o.reach("blocks")
			if n.Links > 0 { // and keeps its names until the commit: without, it stays an orphan
				o.removeOrphan(ino)
			} else {
				o.orphans = append(o.orphans, orphanChange{ino: ino, add: true, whole: true})
			}
			return o.dependInode(ino, disk.OffLinks, 2)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Evict frees an inode without links that is not in use any more. One that has links, or was freed already, is left
// alone.
func (w *Writable) Evict(node Node) error { return w.EvictIf(node, func() bool { return true }) }

// EvictIf is Evict for an inode of which unused, called when its last link is gone, reports that it is not in use.
func (w *Writable) EvictIf(node Node, unused func() bool) error {
	if !w.orphans.has(node.Ino()) {
		return nil
	}
	w.alloc.closeWindow(node.Ino())
	for done := false; !done; {
		err := w.do(opEvict, Cred{}, func(o *op) error {
			n := new(Inode)
			done = true
			if err := o.fs.ReadNode(n, node); err != nil {
				if errors.Is(err, ErrStale) {
					return nil
				}
				return err
			}
			if n.Links > 0 || !unused() {
				return nil
			}
			if n.hasBlocks() {
				var err error
				if done, err = o.cut(n, 0, maxFileBlocks); err != nil || !done {
					return err
				}
			}
			o.reach("blocks")
			var err error
			if done, err = o.dropAttributes(n); err != nil || !done {
				return err
			}
			o.reach("attributes")
			o.removeOrphan(n.Ino)
			err = o.freeInode(n)
			o.reach("inode")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hasBlocks reports whether the inode's Block maps blocks, and does not hold a device number or a short symlink's
// target.
func (n *Inode) hasBlocks() bool {
	if n.Has(disk.InodeInlineData) {
		return false
	}
	return n.IsRegular() || n.IsDir() || n.IsSymlink() && !n.fs.super.FastSymlink(&n.Inode)
}
