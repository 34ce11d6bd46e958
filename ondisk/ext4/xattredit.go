package ext4

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/varvefs/varve/ondisk"
)

// SplitXattrName is the index and the rest of the name that stand for an attribute of getxattr(2), and false where ext4
// has no index for it.
func SplitXattrName(name string) (index uint8, rest string, ok bool) {
	for _, i := range []uint8{XattrACLAccess, XattrACLDefault, XattrUser, XattrTrusted, XattrSecurity} {
		prefix := xattrPrefixes[i]
		if i == XattrACLAccess || i == XattrACLDefault {
			if name == prefix {
				return i, "", true
			}
			continue
		}
		if r, found := strings.CutPrefix(name, prefix); found && r != "" && len(r) <= 255 {
			return i, r, true
		}
	}
	return 0, "", false
}

// IsXattrPrefix reports whether a name is that of a namespace, without an attribute's own.
func IsXattrPrefix(name string) bool {
	for _, i := range []uint8{XattrUser, XattrTrusted, XattrSecurity} {
		if name == xattrPrefixes[i] {
			return true
		}
	}
	return false
}

// XattrSpace is the room that an attribute takes among the entries and among the values.
func XattrSpace(x Xattr) int {
	return (xattrEntrySize+len(x.Name)+3)&^3 + valueSpace(x)
}

func valueSpace(x Xattr) int { return (len(x.Value) + 3) &^ 3 }

// entryHash is the hash of an attribute's name and value (kernel, fs/ext4/xattr.c).
func entryHash(name, value []byte) uint32 {
	h := uint32(0)
	for _, c := range name {
		h = h<<5 ^ h>>27 ^ uint32(c)
	}
	for len(value) > 0 {
		var word [4]byte
		n := copy(word[:], value)
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(word[:])
		value = value[n:]
	}
	return h
}

// hash is the hash that an attribute's entry has. 0 is none: the kernel changes inline data in place, and leaves the
// hash alone.
func (x *Xattr) hash() uint32 {
	switch {
	case x.IsInlineData():
		return 0
	case x.ValueIno != 0:
		return x.Hash
	}
	return entryHash(x.Name, x.Value)
}

// putXattrs writes entries from p[first:] on, and values from the end down. Offsets of values count from base.
func putXattrs(p []byte, first, base int, attrs []Xattr) bool {
	le := binary.LittleEndian
	at, end := first, len(p)
	for _, x := range attrs {
		size := valueSpace(x)
		length := (xattrEntrySize + len(x.Name) + 3) &^ 3
		if at+length+4 > end-size {
			return false
		}
		end -= size
		q := p[at:]
		q[0], q[1] = byte(len(x.Name)), x.Index
		if len(x.Value) > 0 {
			le.PutUint16(q[2:], uint16(end-base))
			copy(p[end:], x.Value)
		}
		le.PutUint32(q[4:], uint32(x.ValueIno))
		le.PutUint32(q[8:], max(x.Size, uint32(len(x.Value))))
		le.PutUint32(q[12:], x.hash())
		copy(q[xattrEntrySize:], x.Name)
		at += length
	}
	return true
}

// InodeXattrRoom returns by how many bytes the value of the last attribute may grow in an inode's XattrArea of size
// bytes: less than 0 if the attributes do not fit as they are.
func InodeXattrRoom(size int, attrs []Xattr) int {
	room := size - xattrInodeHeader - 4
	for _, x := range attrs {
		room -= XattrSpace(x)
	}
	if room < 0 {
		return -1
	}
	return room &^ 3
}

// EncodeInodeXattrs makes an inode's XattrArea of so many bytes, and reports whether the attributes have room in it.
func EncodeInodeXattrs(size int, attrs []Xattr) ([]byte, bool) {
	p := make([]byte, size)
	if len(attrs) == 0 {
		return p, true
	}
	if size < xattrInodeHeader+4 {
		return nil, false
	}
	binary.LittleEndian.PutUint32(p, xattrMagic)
	return p, putXattrs(p, xattrInodeHeader, xattrInodeHeader, attrs)
}

// EncodeXattrBlock makes a block of attributes that one inode refers to. The checksum is left to SealXattrBlock.
func (s *Superblock) EncodeXattrBlock(attrs []Xattr) ([]byte, bool) {
	sorted := slices.Clone(attrs)
	slices.SortFunc(sorted, func(a, b Xattr) int {
		switch {
		case a.Index != b.Index:
			return int(a.Index) - int(b.Index)
		case len(a.Name) != len(b.Name):
			return len(a.Name) - len(b.Name)
		}
		return bytes.Compare(a.Name, b.Name)
	})
	p := make([]byte, s.BlockSize)
	le := binary.LittleEndian
	le.PutUint32(p, xattrMagic)
	le.PutUint32(p[4:], 1)
	le.PutUint32(p[8:], 1)
	if !putXattrs(p, xattrBlockHeader, 0, sorted) {
		return nil, false
	}
	h := uint32(0)
	for _, x := range sorted {
		h = h<<16 ^ h>>16 ^ x.hash()
	}
	le.PutUint32(p[12:], h)
	return p, true
}

// OffXattrRefs is where a block of attributes counts the inodes that refer to it.
const OffXattrRefs = 4

// XattrRefs is how many inodes refer to a block of attributes.
func XattrRefs(p []byte) uint32 { return binary.LittleEndian.Uint32(p[OffXattrRefs:]) }

// ACLEntry is one entry of a POSIX ACL (acl(5)).
type ACLEntry struct {
	Tag  uint16
	Perm uint16
	ID   uint32 // of ACLUser and ACLGroup
}

// Tags of ACL entries.
const (
	ACLUserObj  = 0x1
	ACLUser     = aclUser
	ACLGroupObj = 0x4
	ACLGroup    = aclGroup
	ACLMask     = 0x10
	ACLOther    = 0x20
)

// DecodeACLXattr decodes and checks a POSIX ACL in the form of setxattr(2): its entries in order, one of each kind that
// must be there, and a mask where users or groups are named.
func DecodeACLXattr(p []byte) ([]ACLEntry, error) {
	const where = "POSIX ACL"
	le := binary.LittleEndian
	if len(p) < 4 || le.Uint32(p) != aclXattrVersion || (len(p)-4)%8 != 0 {
		return nil, ondisk.Corruptf(where, "%d bytes without a header of version %d", len(p), aclXattrVersion)
	}
	var out []ACLEntry
	for p = p[4:]; len(p) > 0; p = p[8:] {
		out = append(out, ACLEntry{le.Uint16(p), le.Uint16(p[2:]), le.Uint32(p[4:])})
	}
	return out, checkACL(out)
}

// DecodeACL decodes a POSIX ACL in its form on disk.
func DecodeACL(p []byte) ([]ACLEntry, error) {
	x, err := ACLToXattr(p)
	if err != nil {
		return nil, err
	}
	return DecodeACLXattr(x)
}

func checkACL(entries []ACLEntry) error {
	bad := func(what string) error { return ondisk.Corruptf("POSIX ACL", "%s", what) }
	if len(entries) == 0 {
		return nil
	}
	count := map[uint16]int{}
	order := map[uint16]int{ACLUserObj: 0, ACLUser: 1, ACLGroupObj: 2, ACLGroup: 3, ACLMask: 4, ACLOther: 5}
	last := -1
	for _, e := range entries {
		rank, known := order[e.Tag]
		switch {
		case !known || e.Perm > 7:
			return bad("an entry that is none")
		case rank < last || rank == last && e.Tag != ACLUser && e.Tag != ACLGroup:
			return bad("entries out of order")
		}
		last = rank
		count[e.Tag]++
	}
	if count[ACLUserObj] != 1 || count[ACLGroupObj] != 1 || count[ACLOther] != 1 {
		return bad("owner, group or other is missing")
	}
	if count[ACLUser]+count[ACLGroup] > 0 && count[ACLMask] != 1 {
		return bad("the mask is missing")
	}
	return nil
}

// EncodeACL makes the form on disk of a POSIX ACL.
func EncodeACL(entries []ACLEntry) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32(nil, aclDiskVersion)
	for _, e := range entries {
		out = le.AppendUint16(le.AppendUint16(out, e.Tag), e.Perm)
		if e.Tag == ACLUser || e.Tag == ACLGroup {
			out = le.AppendUint32(out, e.ID)
		}
	}
	return out
}
