package ext4

import (
	"fmt"
	"strings"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Xattr is an extended attribute by the name that getxattr(2) knows.
type Xattr struct {
	Name string
	attr disk.Xattr
	node *Inode
}

// Xattrs lists the attributes of an inode, those in the inode first, as the kernel lists them. Attributes that are the
// file system's own (inline data, encryption contexts) are left out.
func (n *Inode) Xattrs() ([]Xattr, error) {
	var out []Xattr
	err := n.eachXattr(func(a disk.Xattr) bool {
		if name, ok := a.FullName(); ok {
			out = append(out, Xattr{Name: name, attr: a, node: n})
		}
		return true
	})
	return out, err
}

// XattrNames are the names of an inode's attributes, as listxattr(2) gives them: each ends with a zero byte. Those in
// trusted. are for the administrator.
func (n *Inode) XattrNames(administrator bool) ([]byte, error) {
	var names []byte
	err := n.eachXattr(func(a disk.Xattr) bool {
		name, ok := a.FullName()
		if ok && (administrator || !strings.HasPrefix(name, "trusted.")) {
			names = append(append(names, name...), 0)
		}
		return true
	})
	return names, err
}

// Xattr returns the value of one attribute, or ErrNoXattr. POSIX ACLs are in the form of getxattr(2).
func (n *Inode) Xattr(name string) ([]byte, error) {
	var found *Xattr
	err := n.eachXattr(func(a disk.Xattr) bool {
		if full, ok := a.FullName(); ok && full == name {
			found = &Xattr{Name: name, attr: a, node: n}
		}
		return found == nil
	})
	if found != nil {
		return found.Value()
	}
	if err != nil {
		return nil, err
	}
	return nil, ErrNoXattr
}

// HasXattrs reports whether an inode has room taken by attributes, without decoding them.
func (n *Inode) HasXattrs() bool {
	return n.FileACL != 0 || disk.HasInodeXattrs(n.XattrArea)
}

func (n *Inode) eachXattr(visit func(disk.Xattr) bool) error {
	attrs, err := disk.DecodeInodeXattrs(n.Ino, n.XattrArea)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		if !visit(a) {
			return nil
		}
	}
	if n.FileACL == 0 {
		return nil
	}
	if !n.fs.super.Contains(n.FileACL, 1) {
		return ondisk.Corruptf(
			n.where(),
			"attributes in block %d, past the image's %d",
			uint64(n.FileACL),
			uint64(n.fs.super.Blocks),
		)
	}
	p, err := n.fs.block(n.FileACL)
	if err != nil {
		return fmt.Errorf("inode %d, extended attributes: %w", n.Ino, err)
	}
	if attrs, err = n.fs.decoder(n.FileACL).DecodeXattrBlock(n.FileACL, p); err != nil {
		return fmt.Errorf("inode %d: %w", n.Ino, err)
	}
	for _, a := range attrs {
		if !visit(a) {
			break
		}
	}
	return nil
}

// Value reads the attribute's value.
func (x *Xattr) Value() ([]byte, error) {
	value, err := x.stored()
	if err != nil {
		return nil, err
	}
	if x.attr.Index == disk.XattrACLAccess || x.attr.Index == disk.XattrACLDefault {
		acl, err := disk.ACLToXattr(value)
		if err != nil {
			return nil, fmt.Errorf("inode %d, %s: %w", x.node.Ino, x.Name, err)
		}
		return acl, nil
	}
	return value, nil
}

// stored is the value in its form on disk.
func (x *Xattr) stored() ([]byte, error) {
	if x.attr.ValueIno != 0 {
		return x.fromInode()
	}
	return x.attr.Value, nil
}

// Size is the length of the value in bytes; for a POSIX ACL that of its form on disk.
func (x *Xattr) Size() int { return int(x.attr.Size) }

// valueInode is the inode that holds a value (ea_inode).
func (x *Xattr) valueInode() (*Inode, error) {
	fs := x.node.fs
	if fs.super.Incompat&disk.IncompatEAInode == 0 {
		return nil, ondisk.Corruptf(x.node.where(), "%s has its value in an inode without the ea_inode feature", x.Name)
	}
	n, err := fs.Inode(x.attr.ValueIno)
	if err != nil {
		return nil, fmt.Errorf("inode %d, %s: %w", x.node.Ino, x.Name, err)
	}
	if !n.Has(disk.InodeEAInode) || n.Size != uint64(x.attr.Size) {
		return nil, ondisk.Corruptf(
			x.node.where(),
			"%s has its value of %d bytes in inode %d, which holds no such value",
			x.Name,
			x.attr.Size,
			n.Ino,
		)
	}
	return n, nil
}

// fromInode reads a value that lies in an inode of its own.
func (x *Xattr) fromInode() ([]byte, error) {
	n, err := x.valueInode()
	if err != nil {
		return nil, err
	}
	value, err := n.readAll(int(x.attr.Size))
	if err != nil {
		return nil, err
	}
	if x.madeByLustre(n) {
		return value, nil
	}
	if err := n.fs.super.CheckXattrValue(n.Ino, n.EAHash, value); err != nil {
		return nil, err
	}
	if !x.attr.HasValueHash(n.EAHash) {
		return nil, ondisk.Corruptf(
			x.node.where(),
			"%s has hash 0x%08x, which is not that of its value in inode %d",
			x.Name,
			x.attr.Hash,
			n.Ino,
		)
	}
	return value, nil
}

// madeByLustre reports whether a value's inode was made by Lustre, which stored no hash but the inode that it belongs
// to.
func (x *Xattr) madeByLustre(n *Inode) bool {
	return n.Mtime.Unix() == int64(x.node.Ino) && n.Generation == x.node.Generation
}
