package ext4

import (
	"fmt"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// attributes checks an inode's attributes. apart is what values in inodes of their own add to its blocks, in units of
// 512 bytes.
func (c *checker) attributes(n *Inode) (apart uint64, err error) {
	attrs, err := disk.DecodeInodeXattrs(n.Ino, n.XattrArea)
	if err != nil {
		return 0, c.damage(n.where(), err)
	}
	if n.FileACL != 0 && !c.s.Contains(n.FileACL, 1) {
		c.problem(n.where(), "attributes in block %d", uint64(n.FileACL))
		return 0, nil
	}
	if apart, err = c.inValueInodes(n, attrs, true); err != nil || n.FileACL == 0 {
		return apart, err
	}
	first := c.xattrs[n.FileACL] == 0
	if c.xattrs[n.FileACL]++; first {
		c.mark(n.where()+", attributes", n.FileACL, 1)
	}
	p, err := c.fs.block(n.FileACL)
	if err != nil {
		return apart, err
	}
	attrs, err = c.s.DecodeXattrBlock(n.FileACL, p)
	if err != nil && first {
		return apart, c.damage(n.where(), err)
	}
	more, err := c.inValueInodes(n, attrs, first)
	return apart + more, err
}

// inValueInodes checks attributes whose values lie in inodes of their own, and sums up their blocks. counted says that
// the references are new: those from a block count once.
func (c *checker) inValueInodes(n *Inode, attrs []disk.Xattr, counted bool) (units uint64, err error) {
	for _, a := range attrs {
		if a.ValueIno == 0 {
			continue
		}
		x := Xattr{Name: fmt.Sprintf("attribute %q", a.Name), attr: a, node: n}
		v, err := x.valueInode()
		if err == nil {
			err = c.value(&x, v, counted)
		}
		if err := c.damage(n.where(), err); err != nil {
			return units, err
		}
		if v == nil || !x.madeByLustre(v) {
			units += c.s.ValueUnits(a.Size)
			c.countInodes(n, 0, 1)
		}
	}
	return units, nil
}

// value checks the inode of an attribute's value, and counts the reference if it is a new one.
func (c *checker) value(x *Xattr, v *Inode, counted bool) error {
	switch {
	case x.madeByLustre(v):
		c.values[v.Ino] = ofLustre
		return nil
	case !x.attr.HasValueHash(v.EAHash):
		c.problem(x.node.where(), "%s has hash 0x%08x, which is not that of its value", x.Name, x.attr.Hash)
	}
	if !counted {
		return nil
	}
	if c.values[v.Ino]++; c.values[v.Ino] > 1 {
		return nil
	}
	_, err := x.fromInode()
	return err
}

// ofLustre stands for a value that Lustre made: it does not count references.
const ofLustre = -1 << 31

// valueRefs compares the reference counts of values' inodes with the attributes that were found to have them. Nothing
// else leads to such an inode.
func (c *checker) valueRefs() error {
	c.inodes.each(func(ino Ino, st *inodeState) {
		if st.flags&(stateInUse|stateValue) != stateInUse|stateValue || c.orphans[ino] {
			return
		}
		var n Inode
		if c.fs.slot(&n, ino) != nil {
			return // reported before
		}
		switch found := c.values[ino]; {
		case st.links > 0:
			c.problem(n.where(), "holds an attribute's value, and has %d names", st.links)
		case n.Links != 1:
			c.problem(n.where(), "holds an attribute's value, and has %d links", n.Links)
		case found >= 0 && (found == 0 || uint64(found) != n.EARefs):
			c.problem(n.where(), "%d references to its value, and %d attributes", n.EARefs, found)
		}
	})
	return nil
}

// references compares the reference counts of blocks of attributes with the inodes that were found to have them.
func (c *checker) references() error {
	for at, n := range c.xattrs {
		p, err := c.fs.block(at)
		if err != nil {
			return err
		}
		if refs := disk.XattrRefs(p); int(refs) != n {
			c.problem(
				fmt.Sprintf("extended attributes in block %d", uint64(at)),
				"%d references, and %d inodes",
				refs,
				n,
			)
		}
	}
	return nil
}
