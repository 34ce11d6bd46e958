package ext4

import (
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// readACL decodes an ACL of an inode: nil where it has none.
func (o *op) readACL(n *Inode, index uint8) ([]disk.ACLEntry, error) {
	if !n.HasXattrs() {
		return nil, nil
	}
	a, err := o.readXattrs(n)
	if err != nil {
		return nil, err
	}
	for _, list := range [][]disk.Xattr{a.inside, a.outside} {
		if i := findXattr(list, index, ""); i >= 0 {
			x := Xattr{Name: "an ACL", attr: list[i], node: n}
			value, err := x.stored()
			if err != nil {
				return nil, err
			}
			return disk.DecodeACL(value)
		}
	}
	return nil, nil
}

// inheritACL applies a directory's default ACL, or, where it has none, the umask, to a new inode's mode (acl(5),
// "Object creation and default ACLs"). It returns the ACLs that the inode gets.
func (o *op) inheritACL(dir, n *Inode, umask uint16) (access, defaults []disk.ACLEntry, err error) {
	if n.IsSymlink() {
		return nil, nil, nil
	}
	def, err := o.readACL(dir, disk.XattrACLDefault)
	if err != nil {
		return nil, nil, err
	}
	if def == nil {
		n.Mode &^= umask & 0o777
		return nil, nil, nil
	}
	if n.IsDir() {
		defaults = def
	}
	access = append([]disk.ACLEntry(nil), def...)
	masked := -1
	for i := range access {
		switch e := &access[i]; e.Tag {
		case disk.ACLUserObj:
			e.Perm &= n.Mode >> 6 & 7
			n.Mode = n.Mode&^0o700 | e.Perm<<6
		case disk.ACLOther:
			e.Perm &= n.Mode & 7
			n.Mode = n.Mode&^0o007 | e.Perm
		case disk.ACLGroupObj:
			if masked < 0 {
				masked = i
			}
		case disk.ACLMask:
			masked = i
		}
	}
	if masked >= 0 {
		access[masked].Perm &= n.Mode >> 3 & 7
		n.Mode = n.Mode&^0o070 | access[masked].Perm<<3
	}
	if len(access) == 3 {
		access = nil // the mode says it all
	}
	return access, defaults, nil
}

// putACLs gives a new inode its ACLs.
func (o *op) putACLs(n *Inode, access, defaults []disk.ACLEntry) error {
	if access == nil && defaults == nil {
		return nil
	}
	if err := o.reload(n); err != nil {
		return err
	}
	if access != nil {
		if err := o.setXattr(n, disk.XattrACLAccess, "", disk.EncodeACL(access), 0); err != nil {
			return err
		}
	}
	if defaults != nil {
		return o.setXattr(n, disk.XattrACLDefault, "", disk.EncodeACL(defaults), 0)
	}
	return nil
}

// setACLXattr sets an ACL that came through setxattr(2).
func (o *op) setACLXattr(n *Inode, index uint8, value []byte, killSGID bool) error {
	if n.IsSymlink() {
		return ondisk.ErrUnsupported
	}
	entries, err := disk.DecodeACLXattr(value)
	if err != nil {
		return ErrInvalid
	}
	if index == disk.XattrACLDefault {
		if !n.IsDir() {
			return ErrAccess
		}
	} else if len(entries) > 0 {
		mode := modeOf(entries, n.Mode)
		if killSGID {
			mode &^= setgid
		}
		if err := o.setMode(n, mode); err != nil {
			return err
		}
		if len(entries) == 3 {
			entries = nil
		}
	}
	var stored []byte
	if len(entries) > 0 {
		stored = disk.EncodeACL(entries)
	}
	if err := o.setXattr(n, index, "", stored, 0); err != nil {
		return err
	}
	return o.stamp(n, disk.OffCtime)
}

// modeOf is a mode with the permissions of an ACL.
func modeOf(entries []disk.ACLEntry, mode uint16) uint16 {
	group := uint16(0)
	masked := false
	for _, e := range entries {
		switch e.Tag {
		case disk.ACLUserObj:
			mode = mode&^0o700 | e.Perm<<6
		case disk.ACLOther:
			mode = mode&^0o007 | e.Perm
		case disk.ACLGroupObj:
			if !masked {
				group = e.Perm
			}
		case disk.ACLMask:
			group, masked = e.Perm, true
		}
	}
	return mode&^0o070 | group<<3
}

// chmodACL makes an access ACL agree with a new mode.
func (o *op) chmodACL(n *Inode, mode uint16) error {
	entries, err := o.readACL(n, disk.XattrACLAccess)
	if err != nil || entries == nil {
		return err
	}
	masked := -1
	for i := range entries {
		switch e := &entries[i]; e.Tag {
		case disk.ACLUserObj:
			e.Perm = mode >> 6 & 7
		case disk.ACLOther:
			e.Perm = mode & 7
		case disk.ACLGroupObj:
			if masked < 0 {
				masked = i
			}
		case disk.ACLMask:
			masked = i
		}
	}
	if masked < 0 {
		return ondisk.Corruptf(n.where(), "its ACL has no entry for the group")
	}
	entries[masked].Perm = mode >> 3 & 7
	return o.setXattr(n, disk.XattrACLAccess, "", disk.EncodeACL(entries), 0)
}
