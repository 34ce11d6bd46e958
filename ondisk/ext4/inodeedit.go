package ext4

import (
	"encoding/binary"
	"time"
)

// Offsets of inode fields in bytes, for those that change single fields (ext4 doc, "Index Nodes").
const (
	OffMode       = 0x0
	OffUIDLow     = 0x2
	OffSizeLow    = 0x4
	OffAtime      = 0x8
	OffCtime      = 0xc
	OffMtime      = 0x10
	OffDtime      = 0x14
	OffGIDLow     = 0x18
	OffLinks      = 0x1a
	OffBlocksLow  = 0x1c
	OffFlags      = 0x20
	OffBlock      = 0x28
	OffGeneration = 0x64
	OffFileACLLow = 0x68
	OffSizeHigh   = 0x6c
	OffBlocksHigh = 0x74
	OffACLHigh    = 0x76
	OffUIDHigh    = 0x78
	OffGIDHigh    = 0x7a
	OffCtimeExtra = 0x84
	OffMtimeExtra = 0x88
	OffAtimeExtra = 0x8c
	OffCrtime     = 0x90
	OffCrtimeX    = 0x94
	OffProject    = 0x9c

	BlockBytes = 60 // of the field at OffBlock
)

// HasField reports whether an inode with this ExtraIsize holds the 4-byte field at an offset.
func (n *Inode) HasField(offset int) bool { return extraCovers(n.ExtraIsize, offset) }

// PackTime splits a time into the seconds and the extra word of an inode. Without an extra word the second result does
// not count. Times that do not fit are cut to the nearest that does.
func PackTime(t time.Time, extra bool) (sec, more uint32) {
	s := t.Unix()
	if !extra {
		return uint32(int32(min(max(s, -1<<31), 1<<31-1))), 0
	}
	const last = 1<<34 - 1<<31 - 1
	nsec := uint32(t.Nanosecond())
	if s <= -1<<31 || s >= last { // at the limits, too, as the kernel has it (fs/inode.c, timestamp_truncate)
		s, nsec = min(max(s, -1<<31), last), 0
	}
	return uint32(s), uint32((s-int64(int32(s)))>>32)&3 | nsec<<2
}

func putTime(p []byte, lo, hi int, extra uint16, t time.Time) {
	le := binary.LittleEndian
	wide := extraCovers(extra, hi)
	sec, more := PackTime(t, wide)
	le.PutUint32(p[lo:], sec)
	if wide {
		le.PutUint32(p[hi:], more)
	}
}

// EncodeInode writes a new inode into the s.InodeSize bytes of its slot. Block has 60 bytes, XattrArea is left empty.
// The checksum is left to SealInode.
func (s *Superblock) EncodeInode(n *Inode, p []byte) {
	le := binary.LittleEndian
	clear(p)
	le.PutUint16(p[OffMode:], n.Mode)
	le.PutUint16(p[OffUIDLow:], uint16(n.UID))
	le.PutUint16(p[OffUIDHigh:], uint16(n.UID>>16))
	le.PutUint16(p[OffGIDLow:], uint16(n.GID))
	le.PutUint16(p[OffGIDHigh:], uint16(n.GID>>16))
	le.PutUint32(p[OffSizeLow:], uint32(n.Size))
	le.PutUint32(p[OffSizeHigh:], uint32(n.Size>>32))
	le.PutUint16(p[OffLinks:], n.Links)
	le.PutUint32(p[OffBlocksLow:], uint32(n.Blocks))
	le.PutUint32(p[OffFlags:], n.Flags)
	copy(p[OffBlock:OffBlock+BlockBytes], n.Block)
	le.PutUint32(p[OffGeneration:], n.Generation)
	if int(s.InodeSize) > inodeBaseSize {
		le.PutUint16(p[0x80:], n.ExtraIsize)
	}
	putTime(p, OffAtime, OffAtimeExtra, n.ExtraIsize, n.Atime)
	putTime(p, OffCtime, OffCtimeExtra, n.ExtraIsize, n.Ctime)
	putTime(p, OffMtime, OffMtimeExtra, n.ExtraIsize, n.Mtime)
	if extraCovers(n.ExtraIsize, OffCrtime) {
		putTime(p, OffCrtime, OffCrtimeX, n.ExtraIsize, n.Crtime)
	}
	if extraCovers(n.ExtraIsize, OffProject) {
		le.PutUint32(p[OffProject:], n.ProjectID)
	}
	if n.Has(InodeEAInode) {
		n.putValueFields(p)
	}
}

// putValueFields writes what an inode has in place of times if it holds the value of an attribute. Read as a
// time, the hash is a number of seconds after 1970.
func (n *Inode) putValueFields(p []byte) {
	le := binary.LittleEndian
	le.PutUint32(p[OffAtime:], n.EAHash)
	le.PutUint32(p[OffCtime:], uint32(n.EARefs>>32))
	le.PutUint32(p[OffValueRefs:], uint32(n.EARefs))
	if extraCovers(n.ExtraIsize, OffAtimeExtra) {
		le.PutUint32(p[OffAtimeExtra:], n.EAHash>>31)
	}
	if extraCovers(n.ExtraIsize, OffCtimeExtra) {
		le.PutUint32(p[OffCtimeExtra:], 0)
	}
}

// NewExtraIsize is the ExtraIsize that new inodes get: room for all fields that are known, as far as the slot has it.
func (s *Superblock) NewExtraIsize() uint16 {
	if int(s.InodeSize) <= inodeBaseSize {
		return 0
	}
	return min(32, s.InodeSize-inodeBaseSize)
}

// EncodeDevice writes a device number into an inode's Block.
func EncodeDevice(p []byte, major, minor uint32) {
	le := binary.LittleEndian
	if major < 256 && minor < 256 {
		le.PutUint32(p, major<<8|minor)
		return
	}
	le.PutUint32(p[4:], minor&0xff|major<<8|minor&^0xff<<12)
}

// EncodeExtent writes a leaf's entry of 12 bytes.
func EncodeExtent(p []byte, e Extent) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(e.File))
	n := e.Len
	if e.Unwritten {
		n += maxInitLen
	}
	le.PutUint16(p[4:], uint16(n))
	le.PutUint16(p[6:], uint16(e.Start>>32))
	le.PutUint32(p[8:], uint32(e.Start))
}

// EncodeExtentIndex writes an inner node's entry of 12 bytes.
func EncodeExtentIndex(p []byte, x ExtentIndex) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(x.File))
	le.PutUint32(p[4:], uint32(x.Leaf))
	le.PutUint16(p[8:], uint16(x.Leaf>>32))
	le.PutUint16(p[10:], 0)
}

// MaxExtentLen is the greatest number of blocks of an extent.
func MaxExtentLen(unwritten bool) uint32 {
	if unwritten {
		return maxInitLen - 1
	}
	return maxInitLen
}

// EncodeExtentNode writes the header of a node with so many entries, which follow it, and room for so many.
func EncodeExtentNode(p []byte, entries, capacity, depth int) {
	le := binary.LittleEndian
	le.PutUint16(p, extentMagic)
	le.PutUint16(p[2:], uint16(entries))
	le.PutUint16(p[4:], uint16(capacity))
	le.PutUint16(p[6:], uint16(depth))
	le.PutUint32(p[8:], 0)
}

// ExtentCapacity is the number of entries in a node that is a block.
func (s *Superblock) ExtentCapacity() int {
	return (int(s.BlockSize) - extentEntrySize) / extentEntrySize
}
