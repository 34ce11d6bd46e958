package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/ondisk"
)

// A value in an inode of its own (ea_inode) is the contents of a regular file without a name. Its inode has the value's
// hash for a time of access, and counts the entries that refer to it: the lower half in the version, the upper half for
// a time of change (kernel, fs/ext4/xattr.c). A block of attributes refers to a value once, however many inodes share
// the block.

// ValueMode is the mode of an inode that holds a value.
const ValueMode = ModeRegular | 0o600

// OffValueRefs is where such an inode has the lower half of its count of references, in 4 bytes.
const OffValueRefs = 0x24

// XattrValueHash is the hash that the inode of a value stores.
func (s *Superblock) XattrValueHash(value []byte) uint32 { return CRC32C(uint32(s.seed), value) }

// CheckXattrValue checks the value that an inode holds for an attribute (ea_inode) against the inode's stored hash.
func (s *Superblock) CheckXattrValue(ino Ino, stored uint32, value []byte) error {
	if sum := s.XattrValueHash(value); sum != stored {
		return ondisk.Checksum(fmt.Sprintf("extended attribute value in inode %d", ino), stored, sum)
	}
	return nil
}

// HasValueHash reports whether the hash in an attribute's entry is that of its name and of a value in an inode of its
// own. The kernel took the characters of the name for signed ones once, where the processor does.
func (x *Xattr) HasValueHash(hash uint32) bool {
	v := x.InValueInode(x.ValueIno, hash)
	if v.Hash == x.Hash {
		return true
	}
	h := uint32(0)
	for _, c := range x.Name {
		h = h<<5 ^ h>>27 ^ uint32(int8(c))
	}
	return h<<16^h>>16^hash == x.Hash
}

// InValueInode is the attribute as its entry has it when its value lies in an inode of its own, which has this hash.
func (x *Xattr) InValueInode(ino Ino, hash uint32) Xattr {
	var sum [4]byte
	binary.LittleEndian.PutUint32(sum[:], hash)
	return Xattr{Index: x.Index, Name: x.Name, Size: x.Size, ValueIno: ino, Hash: entryHash(x.Name, sum[:])}
}

// IsLargeXattr reports whether a value is to lie in an inode of its own, on a file system that has such inodes,
// wherever there is room: a block would have it and one short name at most.
func (s *Superblock) IsLargeXattr(value []byte) bool {
	const shortEntry = (xattrEntrySize + 3 + 3) &^ 3
	return (len(value)+3)&^3 > int(s.BlockSize)-shortEntry-xattrBlockHeader-4
}

// LeavesEntryRoom reports whether the values in a block leave so much of it for entries as they have to on a file
// system with values in inodes: an eighth, or 1 KiB.
func (s *Superblock) LeavesEntryRoom(attrs []Xattr) bool {
	left := int(s.BlockSize)
	for _, x := range attrs {
		left -= valueSpace(x)
	}
	return left >= min(int(s.BlockSize)/8, 1024)
}

// FitsXattrBlock reports whether a block has room for attributes.
func (s *Superblock) FitsXattrBlock(attrs []Xattr) bool {
	left := int(s.BlockSize) - xattrBlockHeader - 4
	for _, x := range attrs {
		left -= XattrSpace(x)
	}
	return left >= 0
}

// ValueUnits is what a value in an inode of its own adds to the Blocks of each inode that has the attribute: whole
// clusters, in units of 512 bytes.
func (s *Superblock) ValueUnits(size uint32) uint64 {
	cluster := s.ClusterSize()
	return (uint64(size) + cluster - 1) / cluster * (cluster / 512)
}
