package ext4

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// How SetXattr goes about an attribute that exists or does not, as in setxattr(2).
const (
	XattrCreate  = 1
	XattrReplace = 2
)

// maxXattrValue is the longest value that setxattr(2) takes.
const maxXattrValue = 64 << 10

// SetXattr sets an extended attribute. ACLs are in the form of setxattr(2), and change the mode with them.
func (w *Writable) SetXattr(cred Cred, node Node, name string, value []byte, flags uint32, killSGID bool) error {
	index, rest, ok := disk.SplitXattrName(name)
	return w.do(opXattr, cred, func(o *op) error {
		n, err := o.changeable(node)
		switch {
		case err != nil:
			return err
		case !ok && len(name) > 255:
			return ErrXattrName
		case disk.IsXattrPrefix(name):
			return ErrInvalid
		case !ok:
			return ondisk.ErrUnsupported
		case len(value) > maxXattrValue:
			return ErrNoSpace
		}
		if index == disk.XattrACLAccess || index == disk.XattrACLDefault {
			return o.setACLXattr(n, index, value, killSGID)
		}
		if err := o.setXattr(n, index, rest, value, flags); err != nil {
			return err
		}
		return o.stamp(n, disk.OffCtime)
	})
}

// RemoveXattr removes an extended attribute: ErrNoXattr where there is none, unless it is an ACL.
func (w *Writable) RemoveXattr(cred Cred, node Node, name string) error {
	index, rest, ok := disk.SplitXattrName(name)
	switch {
	case disk.IsXattrPrefix(name):
		return ErrInvalid
	case !ok:
		return ondisk.ErrUnsupported
	}
	return w.do(opXattr, cred, func(o *op) error {
		n, err := o.changeable(node)
		if err != nil {
			return err
		}
		flags := uint32(XattrReplace)
		if index == disk.XattrACLAccess || index == disk.XattrACLDefault {
			flags = 0 // an ACL that is not there is the same as none
		}
		if err := o.setXattr(n, index, rest, nil, flags); err != nil {
			return err
		}
		return o.stamp(n, disk.OffCtime)
	})
}

// changeable reads an inode whose attributes are to be changed.
func (o *op) changeable(node Node) (*Inode, error) {
	n, err := o.inode(node)
	if err == nil && n.Has(disk.InodeImmutable|disk.InodeAppend) {
		err = ErrNotPermit
	}
	return n, err
}

// attributes are those of an inode: in it, and in its block.
type attributes struct {
	inside, outside []disk.Xattr
	refs            uint32
}

// readXattrs reads all attributes of an inode. The operation depends on them.
func (o *op) readXattrs(n *Inode) (a attributes, err error) {
	if area := len(n.XattrArea); area > 0 {
		if err := o.dependInode(n.Ino, uint32(o.w.super.InodeSize)-uint32(area), uint32(area)); err != nil {
			return a, err
		}
	}
	for _, off := range []uint32{disk.OffFileACLLow, disk.OffACLHigh} {
		if err := o.dependInode(n.Ino, off, 2); err != nil {
			return a, err
		}
	}
	if a.inside, err = disk.DecodeInodeXattrs(n.Ino, slices.Clone(n.XattrArea)); err != nil || n.FileACL == 0 {
		return a, err
	}
	p, err := o.fs.block(n.FileACL)
	if err != nil {
		return a, err
	}
	if err := o.tx.Depend(n.FileACL, merge.Range{Len: uint32(len(p))}); err != nil {
		return a, err
	}
	a.refs = disk.XattrRefs(p)
	a.outside, err = o.fs.decoder(n.FileACL).DecodeXattrBlock(n.FileACL, slices.Clone(p))
	return a, err
}

func findXattr(list []disk.Xattr, index uint8, name string) int {
	return slices.IndexFunc(list, func(x disk.Xattr) bool { return x.Index == index && string(x.Name) == name })
}

// setXattr sets an attribute, or, where value is nil, removes it. It goes into the inode where that has room, else into
// the block; a value that has no room in either may get an inode of its own.
func (o *op) setXattr(n *Inode, index uint8, name string, value []byte, flags uint32) error {
	a, err := o.readXattrs(n)
	if err != nil {
		return err
	}
	i, k := findXattr(a.inside, index, name), findXattr(a.outside, index, name)
	switch {
	case i < 0 && k < 0 && flags&XattrReplace != 0:
		return ErrNoXattr
	case i < 0 && k < 0 && value == nil:
		return nil
	case (i >= 0 || k >= 0) && flags&XattrCreate != 0:
		return ErrExists
	case i >= 0 && value != nil && a.inside[i].ValueIno == 0 && bytes.Equal(a.inside[i].Value, value):
		return nil
	}
	c := xattrChange{op: o, n: n, old: a, inside: slices.Clone(a.inside), outside: slices.Clone(a.outside),
		refs: valueRefs{}}
	c.take(i, k)
	if value != nil {
		x := disk.Xattr{Index: index, Name: []byte(name), Value: value, Size: uint32(len(value))}
		if err := c.put(x); err != nil {
			return err
		}
		if err := o.useXattr(); err != nil {
			return err
		}
	}
	return c.write()
}

// xattrChange is a change of an inode's attributes: how they were, and how they shall be.
type xattrChange struct {
	*op
	n               *Inode
	old             attributes
	inside, outside []disk.Xattr
	refs            valueRefs // to values, which the change adds or takes away
	values, units   int64     // and their blocks of 512 bytes, that it adds to what the inode counts
}

// take takes away the attribute that is the i-th in the inode or the k-th in the block; none is where less than 0.
func (c *xattrChange) take(i, k int) {
	if i >= 0 {
		c.lose(c.inside[i])
		c.inside = slices.Delete(c.inside, i, i+1)
	}
	if k >= 0 {
		c.lose(c.outside[k])
		c.outside = slices.Delete(c.outside, k, k+1)
	}
}

func (c *xattrChange) lose(x disk.Xattr) {
	values, units := c.ownValues(c.n, []disk.Xattr{x})
	c.values, c.units = c.values-values, c.units-units
}

// put adds an attribute where it has room.
func (c *xattrChange) put(x disk.Xattr) error {
	s := c.w.super
	apart := s.Incompat&disk.IncompatEAInode != 0
	if !apart || !s.IsLargeXattr(x.Value) {
		if c.putBeside(x, apart && !c.replaces(x)) {
			return nil
		}
		if !apart || len(x.Value) == 0 {
			return ErrNoSpace
		}
	}
	if !c.putBeside(x.InValueInode(noIno, 0), false) {
		return ErrNoSpace
	}
	y, err := c.putValue(c.n, x, c.refs)
	if err != nil {
		return err
	}
	c.values, c.units = c.values+1, c.units+int64(s.ValueUnits(y.Size))
	for _, list := range [][]disk.Xattr{c.inside, c.outside} {
		if last := len(list) - 1; last >= 0 && list[last].ValueIno == noIno {
			list[last] = y
		}
	}
	return nil
}

// putBeside adds an attribute in the inode, else in the block, and reports whether it has room there. roomLeft says
// that the values in the block have to leave room for entries.
func (c *xattrChange) putBeside(x disk.Xattr, roomLeft bool) bool {
	inside := append(slices.Clone(c.inside), x)
	// e2fsck takes a short symlink without a block of attributes for a long one if it counts the blocks of a value.
	short := x.ValueIno != 0 && c.w.super.FastSymlink(&c.n.Inode)
	if _, fits := disk.EncodeInodeXattrs(len(c.n.XattrArea), inside); fits && !short {
		c.inside = inside
		return true
	}
	outside := append(slices.Clone(c.outside), x)
	if s := c.w.super; !s.FitsXattrBlock(outside) || roomLeft && len(x.Value) > 0 && !s.LeavesEntryRoom(outside) {
		return false
	}
	c.outside = outside
	return true
}

// replaces reports whether a value takes the place of an old one in the block.
func (c *xattrChange) replaces(x disk.Xattr) bool {
	k := findXattr(c.old.outside, x.Index, string(x.Name))
	return k >= 0 && disk.XattrSpace(c.old.outside[k]) == disk.XattrSpace(x)
}

// write makes the edits.
func (c *xattrChange) write() error {
	if err := c.putInside(c.n, c.old.inside, c.inside, c.refs); err != nil {
		return err
	}
	c.reach("inside")
	if err := c.putOutside(c.n, c.old, c.outside, c.refs); err != nil {
		return err
	}
	c.reach("outside")
	if err := c.addValues(c.n, c.values, c.units); err != nil {
		return err
	}
	err := c.countValues(c.n, c.refs)
	c.reach("values")
	return err
}

func sameXattrs(a, b []disk.Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y disk.Xattr) bool {
		return x.Index == y.Index && bytes.Equal(x.Name, y.Name) && bytes.Equal(x.Value, y.Value) &&
			x.ValueIno == y.ValueIno && x.Size == y.Size
	})
}

// putInside writes the attributes in an inode.
func (o *op) putInside(n *Inode, old, now []disk.Xattr, refs valueRefs) error {
	if sameXattrs(old, now) {
		return nil
	}
	area, ok := disk.EncodeInodeXattrs(len(n.XattrArea), now)
	if !ok {
		return ErrNoSpace
	}
	refs.add(old, -1)
	refs.add(now, 1)
	n.XattrArea = area
	return o.setInode(n.Ino, uint32(o.w.super.InodeSize)-uint32(len(area)), area)
}

// putOutside writes the attributes in an inode's block: one that has them already, else the inode's own, else a new
// one. A block refers to a value once, for all inodes that share it.
func (o *op) putOutside(n *Inode, a attributes, now []disk.Xattr, refs valueRefs) error {
	if sameXattrs(a.outside, now) {
		return nil
	}
	if len(now) == 0 {
		return o.dropXattrBlock(n, refs)
	}
	p, ok := o.w.super.EncodeXattrBlock(now)
	if !ok {
		return ErrNoSpace
	}
	at, err := o.shareXattrs(p)
	switch {
	case err != nil:
		return err
	case at == 0 && n.FileACL != 0 && a.refs == 1:
		refs.add(a.outside, -1)
		refs.add(now, 1)
		o.remember(n.FileACL, p)
		return o.edit(n.FileACL, kindXattrs, 0, merge.Whole(p))
	}
	if err := o.dropXattrBlock(n, refs); err != nil {
		return err
	}
	if at == 0 {
		if at, err = o.allocateOne(n); err != nil {
			return err
		}
		if err := o.edit(at, kindXattrs, 0, merge.Whole(p)); err != nil {
			return err
		}
		refs.add(now, 1)
		o.remember(at, p)
	}
	if err := o.addClusters(n, 1); err != nil {
		return err
	}
	return o.setFileACL(n, at)
}

func (o *op) setFileACL(n *Inode, at block.Number) error {
	n.FileACL = at
	le := binary.LittleEndian
	if err := o.setInode(n.Ino, disk.OffFileACLLow, le.AppendUint32(nil, uint32(at))); err != nil {
		return err
	}
	if at>>32 == 0 && o.w.super.Incompat&disk.Incompat64Bit == 0 {
		return nil
	}
	return o.setInode(n.Ino, disk.OffACLHigh, le.AppendUint16(nil, uint16(at>>32)))
}

// dropXattrBlock takes an inode's block of attributes away from it, and frees that where no other inode refers to it.
func (o *op) dropXattrBlock(n *Inode, refs valueRefs) error {
	at := n.FileACL
	if at == 0 {
		return nil
	}
	p, err := o.fs.block(at)
	if err != nil {
		return err
	}
	attrs, err := o.fs.decoder(at).DecodeXattrBlock(at, slices.Clone(p))
	if err != nil && !mutant.Off(mutant.XattrBlock) { // what an inode names by mistake is not changed
		return n.wrap(err)
	}
	f := merge.Field{Off: disk.OffXattrRefs, Width: 4}
	if disk.XattrRefs(p) > 1 {
		err = o.edit(at, kindXattrs, 0, merge.Add(f, -1, 1, 1<<20))
	} else {
		refs.add(attrs, -1)
		// No references: a transaction that is about to add one sees that, and takes another block.
		if err = o.edit(at, kindXattrs, 0, merge.Add(f, -1, 0, 0)); err == nil {
			o.tx.Sequenced(func(block.Seq) { o.w.shared.forget(at) })
			err = o.freeOne(at)
		}
	}
	if err != nil {
		return err
	}
	if err := o.addClusters(n, -1); err != nil {
		return err
	}
	return o.setFileACL(n, 0)
}
