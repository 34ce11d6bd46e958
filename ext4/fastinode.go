package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// eachInode writes the inodes that fast commits logged.
func (r *fastRecovery) eachInode() error {
	for _, ino := range r.touched {
		if r.links[ino] == 0 {
			continue
		}
		n, p := r.home[ino], r.logged[ino]
		var err error
		switch {
		case n == nil && p == nil:
			err = ondisk.Corruptf("fast commit", "names inode %d, which is free", ino)
		case n == nil:
			err = r.makeInode(ino, p, true)
		case p != nil && binary.LittleEndian.Uint32(p[disk.OffGeneration:]) != n.Generation:
			if err = r.emptyInode(n); err == nil {
				err = r.makeInode(ino, p, false)
			}
		case n.IsDir(): // those at home are not logged; one that is was recovered before
		default:
			err = r.updateInode(n, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeInode writes an inode that was free at home, with no blocks yet.
func (r *fastRecovery) makeInode(ino Ino, logged []byte, free bool) error {
	le := binary.LittleEndian
	p := make([]byte, r.w.super.InodeSize)
	copy(p, logged)
	var n disk.Inode
	if err := r.w.super.Unsealed().DecodeInode(&n, ino, p); err != nil {
		return fmt.Errorf("fast commit: %w", err)
	}
	if le.Uint32(p[disk.OffFileACLLow:]) != 0 || le.Uint16(p[disk.OffACLHigh:]) != 0 {
		return ondisk.Corruptf("fast commit", "new inode %d has a block of attributes", ino)
	}
	dir := n.IsDir()
	le.PutUint32(p[disk.OffBlocksLow:], 0)
	le.PutUint16(p[disk.OffBlocksHigh:], 0)
	le.PutUint32(p[disk.OffDtime:], 0)
	le.PutUint16(p[disk.OffLinks:], uint16(r.links[ino]))
	if dir {
		le.PutUint16(p[disk.OffLinks:], 2)
		le.PutUint32(p[disk.OffSizeLow:], 0)
		le.PutUint32(p[disk.OffSizeHigh:], 0)
		le.PutUint32(p[disk.OffFlags:], n.Flags&^(disk.InodeInlineData|disk.InodeIndex))
		clear(p[disk.OffBlock : disk.OffBlock+disk.BlockBytes])
	}
	if n.Flags&disk.InodeExtents != 0 {
		copy(p[disk.OffBlock:], disk.EmptyExtentRoot())
	}
	if free {
		t := taken{ino, dir}
		if err := r.w.alloc.reserveThis(t); err != nil {
			return err
		}
		if err := r.useInode(t); err != nil {
			return err
		}
	} else if dir {
		if err := r.addDirs(disk.Group(uint32(ino-1)/r.w.super.InodesPerGroup), 1); err != nil {
			return err
		}
	}
	if err := r.setInode(ino, 0, p); err != nil {
		return err
	}
	made := new(Inode)
	if err := r.fs.ReadInode(made, ino); err != nil {
		return err
	}
	if err := r.useLargeFile(made.Size); err != nil {
		return err
	}
	if err := r.charge(made, 0, 1); err != nil || !dir {
		return err
	}
	if r.parents[ino] == 0 {
		return ondisk.Corruptf("fast commit", "new directory %d has no name", ino)
	}
	return r.fillDir(made, r.parents[ino])
}

// updateInode writes an inode that has blocks and attributes at home, which stay. p is nil where only its names
// changed.
func (r *fastRecovery) updateInode(n *Inode, p []byte) error {
	if n.Links == 0 && r.w.orphans.has(n.Ino) {
		r.removeOrphan(n.Ino)
	}
	links := binary.LittleEndian.AppendUint16(nil, uint16(r.links[n.Ino]))
	if p == nil {
		return r.setInode(n.Ino, disk.OffLinks, links)
	}
	raw, err := r.fs.rawInode(new(Inode), n.Ino)
	if err != nil {
		return err
	}
	merged := slices.Clone(raw)
	copy(merged, p)
	keep := func(off, length int) { copy(merged[off:off+length], raw[off:]) }
	keep(disk.OffDtime, 4)
	keep(disk.OffBlocksLow, 4)
	keep(disk.OffBlocksHigh, 2)
	keep(disk.OffFileACLLow, 4)
	keep(disk.OffACLHigh, 2)
	copy(merged[disk.OffLinks:], links)
	var now disk.Inode
	if err := r.w.super.Unsealed().DecodeInode(&now, n.Ino, slices.Clone(merged)); err != nil {
		return fmt.Errorf("fast commit: %w", err)
	}
	switch {
	case now.Mode&disk.ModeType != n.Mode&disk.ModeType:
		return ondisk.Corruptf("fast commit", "inode %d becomes one of another type", n.Ino)
	case now.Flags&disk.InodeExtents != 0 && n.Has(disk.InodeExtents), n.hasPointers():
		keep(disk.OffBlock, disk.BlockBytes)
	case now.Flags&disk.InodeExtents != 0:
		copy(merged[disk.OffBlock:], disk.EmptyExtentRoot())
	}
	if err := r.transfer(n, func(n *Inode) { n.UID, n.GID, n.ProjectID = now.UID, now.GID, now.ProjectID }); err != nil {
		return err
	}
	if err := r.setInode(n.Ino, 0, merged); err != nil {
		return err
	}
	return r.useLargeFile(now.Size)
}

// emptyInode takes everything away from an inode that was deleted, whose number another one has.
func (r *fastRecovery) emptyInode(n *Inode) error {
	if n.hasBlocks() {
		if err := r.remap(n, fastRange{n: maxFileBlocks}); err != nil {
			return err
		}
	}
	if done, err := r.dropAttributes(n); err != nil || !done {
		return fmt.Errorf("fast commit: attributes of inode %d, which was deleted: %w", n.Ino, err)
	}
	if r.w.orphans.has(n.Ino) {
		r.removeOrphan(n.Ino)
	}
	if n.IsDir() {
		if err := r.addDirs(disk.Group(uint32(n.Ino-1)/r.w.super.InodesPerGroup), -1); err != nil {
			return err
		}
	}
	r.owned = 0
	return r.charge(n, 0, -1)
}

// eachMap maps the ranges of files.
func (r *fastRecovery) eachMap() error {
	for _, ino := range slices.Sorted(maps.Keys(r.view.maps)) {
		if r.links[ino] == 0 {
			continue
		}
		n := new(Inode)
		if err := r.fs.ReadInode(n, ino); err != nil {
			return err
		}
		if !n.hasBlocks() || n.IsDir() {
			continue // an inline file had blocks for a while
		}
		for _, part := range r.view.maps[ino].ranges {
			if err := r.remap(n, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// remap gives a range of a file the blocks of its extent, or none, where it has others.
func (r *fastRecovery) remap(n *Inode, want fastRange) error {
	if !n.Has(disk.InodeExtents) {
		return &ondisk.UnsupportedError{
			Feature: fmt.Sprintf("a fast commit to blocks of inode %d, which has no extents,", n.Ino),
			Advice:  "let e2fsck recover the journal",
		}
	}
	for b, end := uint64(want.file), uint64(want.file)+want.n; b < end; {
		now, err := n.mapHome(FileBlock(b))
		if err != nil {
			return err
		}
		k := min(now.Len, end-b)
		part := want.cut(b)
		switch {
		case part.ext == nil && now.Kind == Hole:
		case part.ext != nil && now.Start == part.ext.Start && (now.Kind == Unwritten) == part.ext.Unwritten:
		default:
			if now.Kind != Hole {
				k = min(k, uint64(disk.MaxExtentLen(true)))
				err = r.lose(n, disk.Extent{File: FileBlock(b), Len: uint32(k), Start: now.Start})
			}
			if part.ext != nil && err == nil {
				part.ext.Len = uint32(min(k, part.n))
				err = r.gain(n, *part.ext)
			}
		}
		if err != nil {
			return err
		}
		b += k
	}
	return nil
}

// lose unmaps blocks, which may be another file's now.
func (r *fastRecovery) lose(n *Inode, e disk.Extent) error {
	c, err := n.soleClusters(e)
	if err != nil {
		return err
	}
	for i := range c.n {
		r.lost[c.start+cluster(i)] = true
		delete(r.got, c.start+cluster(i))
	}
	if err := r.addClusters(n, -int64(c.n)); err != nil {
		return err
	}
	_, err = r.cutExtents(n, uint64(e.File), endOf(e), false, maxFileBlocks)
	return err
}

// gain maps blocks to a hole.
func (r *fastRecovery) gain(n *Inode, e disk.Extent) error {
	c, err := n.soleClusters(e)
	if err != nil {
		return err
	}
	for i := range c.n {
		r.got[c.start+cluster(i)] = true
	}
	if err := r.addClusters(n, int64(c.n)); err != nil {
		return err
	}
	return r.insertExtent(n, e)
}

// eachName makes the names of directories what fast commits made of them.
func (r *fastRecovery) eachName() error {
	for _, ino := range slices.Sorted(maps.Keys(r.view.dirs)) {
		if r.home[ino] == nil && r.links[ino] == 0 {
			continue // made and removed
		}
		n := new(Inode)
		if err := r.fs.ReadInode(n, ino); err != nil {
			return err
		}
		if !n.IsDir() {
			return ondisk.Corruptf("fast commit", "inode %d has a name in inode %d, which is no directory",
				r.touched[0], ino)
		}
		names := r.view.dirs[ino].names
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if err := r.name(n, name, names[name]); err != nil {
				return err
			}
			if err := r.reload(n); err != nil {
				return err
			}
		}
		if err := r.stamp(n, disk.OffMtime, disk.OffCtime); err != nil {
			return err
		}
	}
	return nil
}

// name makes a name of a directory refer to an inode, or to none.
func (r *fastRecovery) name(dir *Inode, name string, to Ino) error {
	d := r.dir(dir)
	at, err := d.find(name)
	found := err == nil
	if err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	if found && at.ino == to || !found && to == 0 {
		return nil
	}
	typ := uint8(disk.FileTypeUnknown)
	if to != 0 {
		child := new(Inode)
		if r.links[to] == 0 {
			return ondisk.Corruptf("fast commit", "inode %d has a name, and no link", to)
		}
		if err := r.fs.ReadInode(child, to); err != nil {
			return err
		}
		typ = fileType(child.Mode)
	}
	if found && at.typ == disk.FileTypeDir {
		if err := r.linkParent(dir, -1); err != nil {
			return err
		}
	}
	switch {
	case to == 0:
		err = d.remove(at)
	case found:
		err = d.replace(at, to, typ)
	default:
		err = d.insert(name, to, typ)
	}
	if err != nil || typ != disk.FileTypeDir {
		return err
	}
	if err := r.reload(dir); err != nil {
		return err
	}
	return r.linkParent(dir, 1)
}

// eachGone makes orphans of the inodes that lost their last name.
func (r *fastRecovery) eachGone() error {
	for _, ino := range r.touched {
		n := r.home[ino]
		if n == nil || r.links[ino] > 0 {
			continue
		}
		if n.IsDir() {
			if err := r.dir(n).checkEmpty(); err != nil {
				return fmt.Errorf("fast commit: directory %d, which is removed: %w", ino, err)
			}
		}
		if err := r.setInode(ino, disk.OffLinks, []byte{0, 0}); err != nil {
			return err
		}
		if !r.w.orphans.has(ino) {
			r.addOrphan(ino)
		}
	}
	return nil
}
