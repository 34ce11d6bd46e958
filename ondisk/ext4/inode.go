package ext4

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// Bits of Inode.Flags (ext4 doc, "Index Nodes").
const (
	InodeSync         = 0x8
	InodeImmutable    = 0x10
	InodeAppend       = 0x20
	InodeNoDump       = 0x40
	InodeNoAtime      = 0x80
	InodeEncrypt      = 0x800
	InodeIndex        = 0x1000 // the directory has a hash tree
	InodeJournalData  = 0x4000
	InodeNoTail       = 0x8000
	InodeDirSync      = 0x10000
	InodeTopDir       = 0x20000
	InodeHugeFile     = 0x40000 // Blocks is in file-system blocks
	InodeExtents      = 0x80000
	InodeVerity       = 0x100000
	InodeEAInode      = 0x200000 // the inode holds the value of an xattr
	InodeDAX          = 0x2000000
	InodeInlineData   = 0x10000000
	InodeProjInherit  = 0x20000000
	InodeCasefold     = 0x40000000
	inodeBaseSize     = 128
	extraIsizeForCsum = 4 // i_extra_isize that covers i_checksum_hi
)

// File types in Inode.Mode, as in stat(2).
const (
	ModeType    = 0xf000
	ModeFIFO    = 0x1000
	ModeChar    = 0x2000
	ModeDir     = 0x4000
	ModeBlock   = 0x6000
	ModeRegular = 0x8000
	ModeSymlink = 0xa000
	ModeSocket  = 0xc000
)

// Inode is one decoded inode (ext4 doc, "Index Nodes"). Slices point into the bytes that it was decoded from.
type Inode struct {
	Mode       uint16
	UID        uint32
	GID        uint32
	Size       uint64 // bytes
	Atime      time.Time
	Ctime      time.Time
	Mtime      time.Time
	Crtime     time.Time // zero where the inode is too small to hold it
	Dtime      uint32
	Links      uint16
	Blocks     uint64 // in units of 512 bytes
	Flags      uint32
	Version    uint64
	Generation uint32
	FileACL    block.Number // the block that holds extended attributes
	ProjectID  uint32
	ExtraIsize uint16
	Block      []byte // the 60 bytes that hold block pointers, an extent tree's root, a symlink or inline data
	XattrArea  []byte // what follows the fixed fields: extended attributes in the inode; may be empty

	// EAHash is the stored hash of an xattr value inode, EARefs its reference count; both share fields with times.
	EAHash uint32
	EARefs uint64
}

// DecodeInode decodes the inode ino into n from the s.InodeSize bytes of its slot and checks checksum, sizes and mode.
// A free slot (no links, no mode) decodes to an Inode with Mode 0 and no error when its checksum is right.
func (s *Superblock) DecodeInode(n *Inode, ino Ino, p []byte) error {
	where := func() string { return fmt.Sprintf("inode %d", ino) }
	if len(p) < int(s.InodeSize) {
		return ondisk.Corruptf(where(), "only %d bytes long", len(p))
	}
	p = p[:s.InodeSize]
	le := binary.LittleEndian
	*n = Inode{
		Mode:       le.Uint16(p[0x0:]),
		UID:        uint32(le.Uint16(p[0x2:])) | uint32(le.Uint16(p[0x78:]))<<16,
		GID:        uint32(le.Uint16(p[0x18:])) | uint32(le.Uint16(p[0x7a:]))<<16,
		Size:       uint64(le.Uint32(p[0x4:])),
		Dtime:      le.Uint32(p[0x14:]),
		Links:      le.Uint16(p[0x1a:]),
		Flags:      le.Uint32(p[0x20:]),
		Version:    uint64(le.Uint32(p[0x24:])),
		Generation: le.Uint32(p[0x64:]),
		FileACL:    block.Number(le.Uint32(p[0x68:])),
		Block:      p[0x28:0x64:0x64],
	}
	if len(p) > inodeBaseSize {
		n.ExtraIsize = le.Uint16(p[0x80:])
		if int(n.ExtraIsize) > len(p)-inodeBaseSize || n.ExtraIsize%4 != 0 {
			return ondisk.Corruptf(where(), "extra size is %d in a slot of %d bytes", n.ExtraIsize, len(p))
		}
		n.XattrArea = p[inodeBaseSize+int(n.ExtraIsize):]
	}
	if s.verifies() {
		if err := s.checkInodeSum(ino, n, p); err != nil {
			return err
		}
	}
	if s.CreatorOS != creatorHurd {
		n.FileACL |= block.Number(le.Uint16(p[0x76:])) << 32
	}
	if n.Mode&ModeType == ModeRegular || s.Incompat&IncompatLargedir != 0 {
		n.Size |= uint64(le.Uint32(p[0x6c:])) << 32
	}
	if n.Size > 1<<63-1 {
		return ondisk.Corruptf(where(), "size is %d bytes", n.Size)
	}
	n.Blocks = s.inodeBlocks(n.Flags, p)
	n.decodeTimes(p)
	n.EAHash = le.Uint32(p[0x8:])
	n.EARefs = uint64(le.Uint32(p[0xc:]))<<32 | n.Version&0xffffffff
	return nil
}

// inodeBlocks is the number of 512-byte units that the inode occupies (ext4 doc, "i_blocks").
func (s *Superblock) inodeBlocks(flags uint32, p []byte) uint64 {
	n := uint64(binary.LittleEndian.Uint32(p[0x1c:]))
	if s.ROCompat&ROCompatHugeFile == 0 {
		return n
	}
	n |= uint64(binary.LittleEndian.Uint16(p[0x74:])) << 32
	if flags&InodeHugeFile != 0 {
		n *= uint64(s.BlockSize) / 512
	}
	return n
}

func (s *Superblock) checkInodeSum(ino Ino, n *Inode, p []byte) error {
	if stored, sum := s.inodeSums(ino, n.Generation, n.ExtraIsize, p); stored != sum {
		return ondisk.Checksum(fmt.Sprintf("inode %d", ino), stored, sum)
	}
	return nil
}

// inodeSums returns the checksum in an inode and the one that it should have: 32 bits where the slot has room for the
// upper half, 16 otherwise. The checksum covers the inode's number, its generation and its slot with zeros in place of
// the checksum itself.
func (s *Superblock) inodeSums(ino Ino, generation uint32, extra uint16, p []byte) (stored, sum uint32) {
	le := binary.LittleEndian
	var room [8 + 512]byte
	b := append(le.AppendUint32(le.AppendUint32(room[:0], uint32(ino)), generation), p...)
	q := b[8:]
	stored = uint32(le.Uint16(q[0x7c:]))
	le.PutUint16(q[0x7c:], 0)
	wide := len(q) > inodeBaseSize && extra >= extraIsizeForCsum
	if wide {
		stored |= uint32(le.Uint16(q[0x82:])) << 16
		le.PutUint16(q[0x82:], 0)
	}
	sum = CRC32C(uint32(s.seed), b)
	if !wide {
		sum &= 0xffff
	}
	return stored, sum
}

// SealInode writes an inode's checksum into the bytes of its slot, where the file system has them.
func (s *Superblock) SealInode(ino Ino, p []byte) {
	if !s.HasMetadataCsum() {
		return
	}
	le := binary.LittleEndian
	extra := uint16(0)
	if len(p) > inodeBaseSize {
		extra = le.Uint16(p[0x80:])
	}
	_, sum := s.inodeSums(ino, le.Uint32(p[0x64:]), extra, p)
	le.PutUint16(p[0x7c:], uint16(sum))
	if extra >= extraIsizeForCsum {
		le.PutUint16(p[0x82:], uint16(sum>>16))
	}
}

// decodeTimes decodes the times, with nanoseconds and years past 2038 as far as the inode has room for them (ext4 doc,
// "Inode Timestamps").
func (n *Inode) decodeTimes(p []byte) {
	n.Atime = inodeTime(p, 0x8, 0x8c, n.ExtraIsize)
	n.Ctime = inodeTime(p, 0xc, 0x84, n.ExtraIsize)
	n.Mtime = inodeTime(p, 0x10, 0x88, n.ExtraIsize)
	if extraCovers(n.ExtraIsize, 0x90) {
		n.Crtime = inodeTime(p, 0x90, 0x94, n.ExtraIsize)
	}
	if extraCovers(n.ExtraIsize, 0x98) {
		n.Version |= uint64(binary.LittleEndian.Uint32(p[0x98:])) << 32
	}
	if extraCovers(n.ExtraIsize, 0x9c) {
		n.ProjectID = binary.LittleEndian.Uint32(p[0x9c:])
	}
}

// extraCovers reports whether an inode with this i_extra_isize holds the 4-byte field at offset.
func extraCovers(extra uint16, offset int) bool { return inodeBaseSize+int(extra) >= offset+4 }

// inodeTime decodes a time: signed seconds at lo, and at hi two more bits of seconds below 30 bits of nanoseconds.
func inodeTime(p []byte, lo, hi int, extraIsize uint16) time.Time {
	sec := int64(int32(binary.LittleEndian.Uint32(p[lo:])))
	if !extraCovers(extraIsize, hi) {
		return time.Unix(sec, 0)
	}
	extra := binary.LittleEndian.Uint32(p[hi:])
	return time.Unix(sec+int64(extra&3)<<32, int64(extra>>2))
}

// IsDir, IsRegular and IsSymlink look at the file type in Mode.
func (n *Inode) IsDir() bool     { return n.Mode&ModeType == ModeDir }
func (n *Inode) IsRegular() bool { return n.Mode&ModeType == ModeRegular }
func (n *Inode) IsSymlink() bool { return n.Mode&ModeType == ModeSymlink }

// IsDevice reports whether the inode is a character or block device.
func (n *Inode) IsDevice() bool {
	return n.Mode&ModeType == ModeChar || n.Mode&ModeType == ModeBlock
}

// Has reports whether a flag is set.
func (n *Inode) Has(flag uint32) bool { return n.Flags&flag != 0 }

// Device decodes the device number of a device node: 8 bits each in the first word of Block, or 12 and 20 bits in the
// second (the kernel's old_decode_dev and new_decode_dev).
func (n *Inode) Device() (major, minor uint32) {
	old := binary.LittleEndian.Uint32(n.Block[0:])
	if old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := binary.LittleEndian.Uint32(n.Block[4:])
	return dev & 0xfff00 >> 8, dev&0xff | dev>>12&0xfff00
}

// FastSymlink reports whether a symlink's target is stored in Block (ext4 doc, "Symbolic Links"). It looks at the
// space the inode occupies, as the kernel does, because old images have long targets of fewer than 60 bytes.
func (s *Superblock) FastSymlink(n *Inode) bool {
	if !n.IsSymlink() || n.Has(InodeInlineData) {
		return false
	}
	if s.Incompat&IncompatEAInode != 0 { // Blocks counts values in inodes of their own, too
		return n.Size > 0 && n.Size < uint64(len(n.Block))
	}
	xattr := uint64(0)
	if n.FileACL != 0 {
		xattr = s.ClusterSize() / 512
	}
	return n.Blocks == xattr
}
