package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/ondisk"
)

// Files with quotas have blocks of their own size, which does not depend on the file system's (quota tools, "vfsv1";
// kernel, fs/quota/quota_tree.h and quotaio_v2.h):
//
//	block 0   header: magic, version │ 8 grace times, flags, blocks, first free block, first block with a free entry
//	block 1   root of the tree: 256 numbers of blocks, by the highest byte of the id
//	others    nodes of the tree, of which the fourth level has the numbers of blocks of entries
//	          blocks of entries: next and previous one with a free entry, count │ 16 up to 14 entries
//	          free blocks: next free block
const (
	QuotaBlockSize = 1024
	QuotaRoot      = 1 // the block of the tree's root
	QuotaDepth     = 4 // levels of the tree
	QuotaFanout    = QuotaBlockSize / 4
	QuotaPerBlock  = (QuotaBlockSize - QuotaLeafHeader) / DquotSize

	QuotaHeaderSize = 32 // bytes of the header
	QuotaLeafHeader = 16 // bytes before the first entry of a block
	DquotSize       = 72

	quotaVersion = 1
)

// Offsets of fields of the header, of a block of entries, and of an entry.
const (
	OffQuotaBlocks    = 0x14
	OffQuotaFreeBlock = 0x18
	OffQuotaFreeEntry = 0x1c

	OffLeafNext    = 0x0
	OffLeafPrev    = 0x4
	OffLeafEntries = 0x8

	OffDquotID        = 0x0
	OffDquotInodeHard = 0x8
	OffDquotInodeSoft = 0x10
	OffDquotInodes    = 0x18
	OffDquotSpaceHard = 0x20
	OffDquotSpaceSoft = 0x28
	OffDquotSpace     = 0x30
	OffDquotSpaceTime = 0x38
	OffDquotInodeTime = 0x40
)

// QuotaType is what the ids of a quota are.
type QuotaType uint8

// The types of quotas.
const (
	UserQuota QuotaType = iota
	GroupQuota
	ProjectQuota
	QuotaTypes
)

var quotaMagics = [QuotaTypes]uint32{0xd9c01f11, 0xd9c01927, 0xd9c03f14}

func (t QuotaType) String() string {
	if t >= QuotaTypes {
		return fmt.Sprintf("type %d", uint8(t))
	}
	return [QuotaTypes]string{"user", "group", "project"}[t]
}

// QuotaIno is the inode of the file with the quotas of a type, or 0.
func (s *Superblock) QuotaIno(t QuotaType) Ino {
	if s.ROCompat&ROCompatQuota == 0 || t >= QuotaTypes {
		return 0
	}
	return [QuotaTypes]Ino{s.UserQuotaIno, s.GroupQuotaIno, s.ProjectQuotaIno}[t]
}

// QuotaHeader is the header of a file with quotas.
type QuotaHeader struct {
	SpaceGrace uint32 // seconds that space may be over its soft limit
	InodeGrace uint32
	Blocks     uint32 // of the file
	FreeBlock  uint32 // the first of the list of free blocks, or 0
	FreeEntry  uint32 // the first of the list of blocks with free entries, or 0
}

// DecodeQuotaHeader decodes the header of a file of size bytes.
func DecodeQuotaHeader(t QuotaType, size uint64, p []byte) (h QuotaHeader, err error) {
	where := t.String() + " quota, header"
	if len(p) < QuotaHeaderSize || t >= QuotaTypes {
		return h, ondisk.Corruptf(where, "only %d bytes long", len(p))
	}
	le := binary.LittleEndian
	if m := le.Uint32(p); m != quotaMagics[t] {
		return h, ondisk.Corruptf(where, "magic is 0x%08x, expected 0x%08x", m, quotaMagics[t])
	}
	if v := le.Uint32(p[4:]); v != quotaVersion {
		return h, ondisk.Corruptf(where, "version is %d, expected %d", v, quotaVersion)
	}
	h = QuotaHeader{
		SpaceGrace: le.Uint32(p[0x8:]),
		InodeGrace: le.Uint32(p[0xc:]),
		Blocks:     le.Uint32(p[OffQuotaBlocks:]),
		FreeBlock:  le.Uint32(p[OffQuotaFreeBlock:]),
		FreeEntry:  le.Uint32(p[OffQuotaFreeEntry:]),
	}
	switch {
	case h.Blocks <= QuotaRoot || uint64(h.Blocks) > size/QuotaBlockSize:
		return h, ondisk.Corruptf(where, "%d blocks in a file of %d bytes", h.Blocks, size)
	case h.FreeBlock >= h.Blocks || h.FreeEntry >= h.Blocks:
		return h, ondisk.Corruptf(where, "free lists begin at blocks %d and %d of %d", h.FreeBlock, h.FreeEntry, h.Blocks)
	}
	return h, nil
}

// QuotaIndex is the place in a node of the tree, at a depth, that leads to an id.
func QuotaIndex(id uint32, depth int) uint32 {
	return id >> (8 * (QuotaDepth - 1 - depth)) % QuotaFanout
}

// QuotaChild is the number at a place in a node, or 0. It is one of the file's blocks, but neither header nor root.
func (h QuotaHeader) QuotaChild(p []byte, index uint32) (uint32, error) {
	n := binary.LittleEndian.Uint32(p[4*index:])
	if n != 0 && (n <= QuotaRoot || n >= h.Blocks) {
		return 0, ondisk.Corruptf("quota tree", "refers to block %d of %d", n, h.Blocks)
	}
	return n, nil
}

// QuotaLeaf is the header of a block of entries, or of a free block, which has Next only.
type QuotaLeaf struct {
	Next, Prev uint32
	Entries    uint16
}

// DecodeQuotaLeaf decodes the header of block nr, of entries or free.
func (h QuotaHeader) DecodeQuotaLeaf(nr uint32, p []byte) (QuotaLeaf, error) {
	le := binary.LittleEndian
	l := QuotaLeaf{le.Uint32(p[OffLeafNext:]), le.Uint32(p[OffLeafPrev:]), le.Uint16(p[OffLeafEntries:])}
	if l.Next >= h.Blocks || l.Prev >= h.Blocks || l.Entries > QuotaPerBlock {
		return l, ondisk.Corruptf("quota tree", "block %d has %d entries, and neighbours %d and %d of %d blocks",
			nr, l.Entries, l.Prev, l.Next, h.Blocks)
	}
	return l, nil
}

// Dquot is the usage and the limits of one id. Limits are 0 where there are none.
type Dquot struct {
	ID        uint32
	Space     uint64 // bytes
	SpaceSoft uint64 // units of 1,024 bytes
	SpaceHard uint64
	SpaceTime int64 // when its grace over the soft limit ends, in seconds since 1970; 0 while it is not over it
	Inodes    uint64
	InodeSoft uint64
	InodeHard uint64
	InodeTime int64
}

// QuotaUnit is the unit of limits of space in bytes.
const QuotaUnit = 1024

// DecodeDquot decodes an entry. ok is false where it is free. The entry of id 0 without usage and limits would
// look like a free one: its inode time is 1 instead.
func DecodeDquot(p []byte) (d Dquot, ok bool) {
	p = p[:DquotSize]
	le := binary.LittleEndian
	d = Dquot{
		ID:        le.Uint32(p[OffDquotID:]),
		Space:     le.Uint64(p[OffDquotSpace:]),
		SpaceSoft: le.Uint64(p[OffDquotSpaceSoft:]),
		SpaceHard: le.Uint64(p[OffDquotSpaceHard:]),
		SpaceTime: int64(le.Uint64(p[OffDquotSpaceTime:])),
		Inodes:    le.Uint64(p[OffDquotInodes:]),
		InodeSoft: le.Uint64(p[OffDquotInodeSoft:]),
		InodeHard: le.Uint64(p[OffDquotInodeHard:]),
		InodeTime: int64(le.Uint64(p[OffDquotInodeTime:])),
	}
	if d == (Dquot{}) && le.Uint32(p[4:]) == 0 {
		return d, false
	}
	if d.ID == 0 && d.InodeTime == 1 {
		d.InodeTime = 0
	}
	return d, true
}

// Encode writes the entry.
func (d Dquot) Encode(p []byte) {
	if d == (Dquot{}) {
		d.InodeTime = 1
	}
	le := binary.LittleEndian
	le.PutUint32(p[OffDquotID:], d.ID)
	le.PutUint32(p[OffDquotID+4:], 0)
	le.PutUint64(p[OffDquotSpace:], d.Space)
	le.PutUint64(p[OffDquotSpaceSoft:], d.SpaceSoft)
	le.PutUint64(p[OffDquotSpaceHard:], d.SpaceHard)
	le.PutUint64(p[OffDquotSpaceTime:], uint64(d.SpaceTime))
	le.PutUint64(p[OffDquotInodes:], d.Inodes)
	le.PutUint64(p[OffDquotInodeSoft:], d.InodeSoft)
	le.PutUint64(p[OffDquotInodeHard:], d.InodeHard)
	le.PutUint64(p[OffDquotInodeTime:], uint64(d.InodeTime))
}

// Limited reports whether the id has any limit.
func (d Dquot) Limited() bool { return d.SpaceSoft|d.SpaceHard|d.InodeSoft|d.InodeHard != 0 }
