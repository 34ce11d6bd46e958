package ext4

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// inlined describes an inode whose contents lie in it, or will: Block, and behind that the
// value of system.data. All of it is one value: an operation that changes it depends on the whole.
type inlined struct {
	data   []byte       // what is stored: at least the bytes of Block; a copy
	others []disk.Xattr // the inode's other attributes in it
	room   int          // bytes that data may have beside those; 0 where the inode has no room for system.data
}

// inlined reads the inline contents of an inode, or the room that one without has for them.
func (o *op) inlined(n *Inode) (in inlined, err error) {
	if err := o.dependInline(n); err != nil {
		return in, err
	}
	attrs, err := disk.DecodeInodeXattrs(n.Ino, slices.Clone(n.XattrArea))
	if err != nil {
		return in, err
	}
	in.data = slices.Clone(n.Block)
	parts := 0
	for _, a := range attrs {
		switch {
		case !a.IsInlineData():
			in.others = append(in.others, a)
		case a.ValueIno != 0:
			return in, ondisk.Corruptf(n.where(), "inline data in inode %d", a.ValueIno)
		case parts > 0:
			return in, ondisk.Corruptf(n.where(), "inline data in two attributes")
		default:
			parts++
			in.data = append(in.data, a.Value...)
		}
	}
	if more := disk.InodeXattrRoom(len(n.XattrArea), append(slices.Clone(in.others), inlineAttr(nil))); more >= 0 {
		in.room = disk.BlockBytes + more
	}
	return in, nil
}

func inlineAttr(value []byte) disk.Xattr {
	return disk.Xattr{Index: disk.XattrSystem, Name: []byte("data"), Value: value, Size: uint32(len(value))}
}

// dependInline makes the operation depend on where an inode's contents are, and on those in it.
func (o *op) dependInline(n *Inode) error {
	if err := o.dependMap(n); err != nil {
		return err
	}
	if err := o.dependInode(n.Ino, disk.OffSizeLow, 4); err != nil {
		return err
	}
	area := uint32(len(n.XattrArea))
	if area == 0 {
		return nil
	}
	return o.dependInode(n.Ino, uint32(o.w.super.InodeSize)-area, area)
}

// contents are the bytes of a file.
func (in *inlined) contents(n *Inode) ([]byte, error) {
	if n.Size > uint64(len(in.data)) {
		return nil, ondisk.Corruptf(n.where(), "size is %d bytes, but only %d are stored inline", n.Size, len(in.data))
	}
	return in.data[:n.Size], nil
}

// putInline stores data in an inode. The caller sets the size.
func (o *op) putInline(n *Inode, in inlined, data []byte) error {
	head := make([]byte, disk.BlockBytes)
	tail := data[copy(head, data):]
	if !bytes.Equal(head, n.Block) {
		n.Block = head
		if err := o.setInode(n.Ino, disk.OffBlock, head); err != nil {
			return err
		}
	}
	if err := o.setArea(n, append(slices.Clone(in.others), inlineAttr(tail))); err != nil || n.Has(disk.InodeInlineData) {
		return err
	}
	return o.setFlags(n, n.Flags&^disk.InodeExtents|disk.InodeInlineData)
}

// setArea writes the attributes in an inode.
func (o *op) setArea(n *Inode, attrs []disk.Xattr) error {
	area, ok := disk.EncodeInodeXattrs(len(n.XattrArea), attrs)
	if !ok {
		return ErrNoSpace
	}
	if bytes.Equal(area, n.XattrArea) {
		return nil
	}
	n.XattrArea = area
	return o.setInode(n.Ino, uint32(o.w.super.InodeSize)-uint32(len(area)), area)
}

// leaveInline makes an inode one that has its contents in blocks, and none yet. It does not become inline again, as
// in the kernel.
func (o *op) leaveInline(n *Inode, in inlined) error {
	flags, root := n.Flags&^disk.InodeInlineData, make([]byte, disk.BlockBytes)
	if o.w.super.Incompat&disk.IncompatExtents != 0 {
		flags, root = flags|disk.InodeExtents, disk.EmptyExtentRoot()
	}
	n.Block = root
	if err := o.setInode(n.Ino, disk.OffBlock, root); err != nil {
		return err
	}
	if err := o.setArea(n, in.others); err != nil {
		return err
	}
	return o.setFlags(n, flags)
}

// moveOut moves the contents of a file from its inode into a block.
func (o *op) moveOut(n *Inode) error {
	in, err := o.inlined(n)
	if err != nil {
		return err
	}
	data, err := in.contents(n)
	if err != nil {
		return err
	}
	if err := o.leaveInline(n, in); err != nil {
		return err
	}
	return o.writeMoved(n, data)
}

// writeMoved writes the contents that a file had in its inode to its first block.
func (o *op) writeMoved(n *Inode, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	e, err := o.blocksFor(n, 0, 1, o.allocate)
	if err != nil {
		return err
	}
	if err := o.writeFresh(e.Start, 0, 1, 0, data); err != nil {
		return err
	}
	o.reach("data")
	return o.mapBlocks(n, e)
}

// writeInline writes into a file whose contents lie in its inode. If they do not fit, the file gets blocks, and
// what is left to write into them is returned: with what the first one had, if the write reaches into that.
func (o *op) writeInline(n *Inode, offset uint64, data []byte) (from uint64, left []byte, err error) {
	in, err := o.inlined(n)
	if err != nil {
		return 0, nil, err
	}
	old, err := in.contents(n)
	if err != nil {
		return 0, nil, err
	}
	end := max(n.Size, offset+uint64(len(data)))
	fits := end <= uint64(in.room)
	if !fits {
		if err := o.leaveInline(n, in); err != nil {
			return 0, nil, err
		}
		if offset >= uint64(o.w.super.BlockSize) {
			return offset, data, o.writeMoved(n, old)
		}
	}
	joined := make([]byte, end)
	copy(joined, old)
	copy(joined[offset:], data)
	if fits {
		return 0, nil, o.putInline(n, in, joined)
	}
	return 0, joined, nil
}

// truncateInline sets the size of a file whose contents lie in its inode.
func (o *op) truncateInline(n *Inode, size uint64) error {
	if size == n.Size {
		return nil
	}
	in, err := o.inlined(n)
	if err != nil {
		return err
	}
	if size > uint64(in.room) {
		if err := o.moveOut(n); err != nil {
			return err
		}
		return o.setSize(n, size, false)
	}
	old, err := in.contents(n)
	if err != nil {
		return err
	}
	data := make([]byte, size)
	copy(data, old)
	if err := o.putInline(n, in, data); err != nil {
		return err
	}
	return o.setSize(n, size, false)
}

// startInline makes a new file or directory one whose contents lie in its inode, where that has room, and reports
// whether it has.
func (o *op) startInline(n *Inode, parent Ino) (bool, error) {
	s := o.w.super
	if s.Incompat&disk.IncompatInlineData == 0 || !n.IsDir() && (!n.IsRegular() || n.Has(disk.InodeDAX)) {
		return false, nil
	}
	if err := o.reload(n); err != nil {
		return false, err
	}
	in, err := o.inlined(n)
	if err != nil || in.room == 0 {
		return false, err
	}
	if !n.IsDir() {
		return true, o.putInline(n, in, nil)
	}
	data := make([]byte, disk.BlockBytes)
	binary.LittleEndian.PutUint32(data, uint32(parent))
	s.DirentFormat(n.Flags).EmptyDirBlock(data[inlineEntries:], len(data)-inlineEntries)
	if err := o.putInline(n, in, data); err != nil {
		return false, err
	}
	return true, o.setSize(n, uint64(len(data)), false)
}
