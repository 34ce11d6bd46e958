package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// inlineAreas are the two areas of entries of an inline directory's data: behind the parent's number in Block, and
// system.data. No record crosses from one to the other. They lie in data.
func inlineAreas(data []byte) [][]byte {
	head, tail := data[inlineEntries:disk.BlockBytes], data[disk.BlockBytes:]
	if len(tail) == 0 {
		return [][]byte{head}
	}
	return [][]byte{head, tail}
}

// isInline reports whether the directory's entries lie in its inode.
func (d *dirOp) isInline() bool { return d.n.Has(disk.InodeInlineData) }

// findInline is find for an inline directory.
func (d *dirOp) findInline(is func(*disk.Dirent) bool) (place, error) {
	in, err := d.inlined(d.n)
	if err != nil {
		return place{}, err
	}
	for _, area := range inlineAreas(in.data) {
		if e, found := d.format.FindDirent(area, len(area), is); found {
			return place{0, e.Ino, e.Type, string(e.Name)}, nil
		}
	}
	return place{}, ErrNotExist
}

// insertInline puts a name into an inline directory. If it has no room, the directory gets a block, and the name
// is left to insert.
func (d *dirOp) insertInline(name string, ino Ino, typ uint8) (left bool, err error) {
	in, err := d.inlined(d.n)
	if err != nil {
		return false, err
	}
	match := d.n.matcher(name)
	for _, area := range inlineAreas(in.data) {
		if _, found := d.format.FindDirent(area, len(area), match.entry); found {
			return false, ErrExists
		}
	}
	data := in.data
	if len(data) == disk.BlockBytes && in.room > len(data)+disk.DirentLen(1) { // all that there is, as the kernel
		data = append(data, make([]byte, in.room-len(data))...)
		tail := data[disk.BlockBytes:]
		d.format.EmptyDirBlock(tail, len(tail))
	}
	for i, area := range inlineAreas(data) {
		err := d.format.InsertDirent(area, len(area), ino, typ, []byte(name))
		switch {
		case errors.Is(err, disk.ErrNoRoom):
			continue
		case err != nil:
			return false, d.n.wrap(err)
		case i == 0:
			data = data[:len(in.data)]
		}
		if err := d.putInline(d.n, in, data); err != nil || len(data) == len(in.data) {
			return false, err
		}
		return false, d.setSize(d.n, uint64(len(data)), false)
	}
	return true, d.moveOutDir(in)
}

// moveOutDir moves the entries of an inline directory into a block.
func (d *dirOp) moveOutDir(in inlined) error {
	p := d.makeDirBlock(Ino(binary.LittleEndian.Uint32(in.data)))
	for _, area := range inlineAreas(in.data) {
		for off := 0; off < len(area); {
			e, err := d.format.Decode(area, off)
			if err != nil {
				return d.n.wrap(err)
			}
			off += e.RecLen
			if e.Ino == 0 {
				continue
			}
			if err := d.format.InsertDirent(p, d.end, e.Ino, e.Type, e.Name); err != nil {
				return ondisk.Corruptf(d.n.where(), "inline entry %q: %v", e.Name, err)
			}
		}
	}
	if err := d.leaveInline(d.n, in); err != nil {
		return err
	}
	d.n.Size = 0
	d.reach("out")
	_, err := d.grow(kindDirLeaf, p)
	return err
}

// editInline changes the area of an inline directory that has a name: change returns disk.ErrNoName for the others.
func (d *dirOp) editInline(change func(area []byte) error) error {
	in, err := d.inlined(d.n)
	if err != nil {
		return err
	}
	for _, area := range inlineAreas(in.data) {
		err := change(area)
		switch {
		case errors.Is(err, disk.ErrNoName):
			continue
		case err != nil:
			return d.n.wrap(err)
		}
		return d.putInline(d.n, in, in.data)
	}
	return ErrNotExist
}

// inlineDotDot reads the parent that an inline directory names. The operation depends on it.
func (d *dirOp) inlineDotDot() (Ino, error) {
	if err := d.dependInode(d.n.Ino, disk.OffFlags, 4); err != nil {
		return 0, err
	}
	parent := Ino(binary.LittleEndian.Uint32(d.n.Block))
	if parent == 0 || uint32(parent) > d.w.super.Inodes {
		return 0, ondisk.Corruptf(d.n.where(), "names inode %d as its parent", parent)
	}
	return parent, d.dependInode(d.n.Ino, disk.OffBlock, inlineEntries)
}

// setInlineDotDot names another parent.
func (d *dirOp) setInlineDotDot(to Ino) error {
	if _, err := d.inlineDotDot(); err != nil {
		return fmt.Errorf("another parent for directory %d: %w", d.n.Ino, err)
	}
	return d.editInode(d.n.Ino, func(at uint32) merge.Edit {
		return merge.Set(at+disk.OffBlock, binary.LittleEndian.AppendUint32(nil, uint32(to)))
	})
}
