package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// The place and size of the primary superblock, in bytes.
const (
	SuperblockOffset = 1024
	SuperblockSize   = 1024
	superMagic       = 0xEF53
)

// Bits of Superblock.State.
const (
	StateClean  = 0x1
	StateErrors = 0x2
	StateOrphan = 0x4
)

// Bits of Superblock.Flags.
const (
	FlagSignedHash   = 0x1
	FlagUnsignedHash = 0x2
)

const creatorHurd = 1

// ErrMagic says that there is no superblock where one should be.
var ErrMagic = errors.New("not an ext2, ext3 or ext4 file system")

// Superblock describes the whole file system (ext4 doc, "Super Block"). Counts are in the units that their names give;
// free counts are as the image has them and may be behind the group descriptors.
type Superblock struct {
	Inodes            uint32
	Blocks            block.Number
	ReservedBlocks    uint64
	FreeBlocks        uint64
	FreeInodes        uint32
	FirstDataBlock    block.Number
	BlockSize         block.Size
	ClusterBlocks     uint32 // blocks a cluster: 1 without bigalloc
	BlocksPerGroup    uint32
	ClustersPerGroup  uint32
	InodesPerGroup    uint32
	MountTime         time.Time
	WriteTime         time.Time
	CheckTime         time.Time
	MkfsTime          time.Time
	MountCount        uint16
	MaxMountCount     int16
	State             uint16
	ErrorPolicy       uint16
	CreatorOS         uint32
	Revision          uint32
	DefaultUID        uint16
	DefaultGID        uint16
	FirstIno          Ino
	InodeSize         uint16
	BlockGroup        uint16 // the group that this copy of the superblock lies in
	Compat            Compat
	Incompat          Incompat
	ROCompat          ROCompat
	UUID              [16]byte
	Label             string
	LastMounted       string
	ReservedGDTBlocks uint16
	JournalUUID       [16]byte
	JournalIno        Ino
	JournalDev        uint32
	LastOrphan        Ino
	HashSeed          [4]uint32
	HashVersion       uint8
	DescSize          uint16
	FirstMetaBG       uint32
	MinExtraIsize     uint16
	Flags             uint32
	MMPInterval       uint16
	MMPBlock          block.Number
	LogGroupsPerFlex  uint8
	ChecksumType      uint8
	EncryptLevel      uint8
	KBytesWritten     uint64
	ErrorCount        uint32
	OnError           uint16 // what to do when damage is found: 1 continue, 2 mount read-only, 3 panic
	UserQuotaIno      Ino
	GroupQuotaIno     Ino
	ProjectQuotaIno   Ino
	OverheadClusters  uint32
	BackupGroups      [2]uint32
	Encoding          uint16
	EncodingFlags     uint16
	OrphanFileIno     Ino
	NeedsLog          bool  // newer blocks may be in a log beside the image
	Log               LogID // which one
	Checksum          uint32

	seed     Seed
	unsealed bool
}

// DecodeSuperblock decodes the 1,024 bytes of a superblock and checks magic, features, geometry and checksum in this
// order. A wrong magic is reported with what the bytes seem to be instead. It accepts any feature: whether varve can
// read them is for Superblock.CheckReadable, so that an unsupported image can still be described.
func DecodeSuperblock(p []byte) (*Superblock, error) {
	const where = "superblock"
	if len(p) < SuperblockSize {
		return nil, ondisk.Corruptf(where, "only %d bytes long", len(p))
	}
	le := binary.LittleEndian
	if m := le.Uint16(p[0x38:]); m != superMagic {
		return nil, fmt.Errorf(
			"%w: %w",
			ondisk.Corruptf(where, "magic is 0x%04x, expected 0x%04x", m, superMagic),
			ErrMagic,
		)
	}
	s := &Superblock{
		Inodes:           le.Uint32(p[0x0:]),
		Blocks:           block.Number(le.Uint32(p[0x4:])),
		ReservedBlocks:   uint64(le.Uint32(p[0x8:])),
		FreeBlocks:       uint64(le.Uint32(p[0xc:])),
		FreeInodes:       le.Uint32(p[0x10:]),
		FirstDataBlock:   block.Number(le.Uint32(p[0x14:])),
		BlocksPerGroup:   le.Uint32(p[0x20:]),
		ClustersPerGroup: le.Uint32(p[0x24:]),
		InodesPerGroup:   le.Uint32(p[0x28:]),
		MountTime:        superTime(p, 0x2c, 0x275),
		WriteTime:        superTime(p, 0x30, 0x274),
		MountCount:       le.Uint16(p[0x34:]),
		MaxMountCount:    int16(le.Uint16(p[0x36:])),
		State:            le.Uint16(p[0x3a:]),
		ErrorPolicy:      le.Uint16(p[0x3c:]),
		CheckTime:        superTime(p, 0x40, 0x277),
		CreatorOS:        le.Uint32(p[0x48:]),
		Revision:         le.Uint32(p[0x4c:]),
		DefaultUID:       le.Uint16(p[0x50:]),
		DefaultGID:       le.Uint16(p[0x52:]),
		FirstIno:         11,
		InodeSize:        128,
		DescSize:         32,
		ClusterBlocks:    1,
		Checksum:         le.Uint32(p[0x3fc:]),
	}
	if s.Revision > 0 {
		s.decodeDynamic(p)
	}
	s.decodeLogMark(p)
	if err := s.checkGeometry(le.Uint32(p[0x18:]), le.Uint32(p[0x1c:])); err != nil {
		return nil, err
	}
	if s.HasMetadataCsum() {
		if s.ChecksumType != 1 {
			return nil, ondisk.Corruptf(where, "checksum type is %d, only 1 (crc32c) is known", s.ChecksumType)
		}
		if sum := CRC32C(^uint32(0), p[:0x3fc]); sum != s.Checksum {
			return nil, ondisk.Checksum(where, s.Checksum, sum)
		}
	}
	if s.Incompat&IncompatCsumSeed != 0 {
		s.seed = Seed(le.Uint32(p[0x270:]))
	} else {
		s.seed = Seed(CRC32C(^uint32(0), s.UUID[:]))
	}
	return s, nil
}

// decodeDynamic decodes the fields that revision 1 brought.
func (s *Superblock) decodeDynamic(p []byte) {
	le := binary.LittleEndian
	s.FirstIno = Ino(le.Uint32(p[0x54:]))
	s.InodeSize = le.Uint16(p[0x58:])
	s.BlockGroup = le.Uint16(p[0x5a:])
	s.Compat = Compat(le.Uint32(p[0x5c:]))
	s.Incompat = Incompat(le.Uint32(p[0x60:]))
	s.ROCompat = ROCompat(le.Uint32(p[0x64:]))
	copy(s.UUID[:], p[0x68:])
	s.Label = LabelOf(p)
	s.LastMounted = cString(p[0x88:0xc8])
	s.ReservedGDTBlocks = le.Uint16(p[0xce:])
	copy(s.JournalUUID[:], p[0xd0:])
	s.JournalIno = Ino(le.Uint32(p[0xe0:]))
	s.JournalDev = le.Uint32(p[0xe4:])
	s.LastOrphan = Ino(le.Uint32(p[0xe8:]))
	for i := range s.HashSeed {
		s.HashSeed[i] = le.Uint32(p[0xec+4*i:])
	}
	s.HashVersion = p[0xfc]
	s.FirstMetaBG = le.Uint32(p[0x104:])
	s.MkfsTime = superTime(p, 0x108, 0x276)
	if s.Incompat&Incompat64Bit != 0 {
		s.DescSize = le.Uint16(p[0xfe:])
		s.Blocks |= block.Number(le.Uint32(p[0x150:])) << 32
		s.ReservedBlocks |= uint64(le.Uint32(p[0x154:])) << 32
		s.FreeBlocks |= uint64(le.Uint32(p[0x158:])) << 32
	}
	s.MinExtraIsize = le.Uint16(p[0x15c:])
	s.Flags = le.Uint32(p[0x160:])
	s.MMPInterval = le.Uint16(p[0x166:])
	s.MMPBlock = block.Number(le.Uint64(p[0x168:]))
	s.LogGroupsPerFlex = p[0x174]
	s.ChecksumType = p[0x175]
	s.EncryptLevel = p[0x176]
	s.KBytesWritten = le.Uint64(p[0x178:])
	s.OnError = le.Uint16(p[0x3c:])
	s.ErrorCount = le.Uint32(p[0x194:])
	s.UserQuotaIno = Ino(le.Uint32(p[0x240:]))
	s.GroupQuotaIno = Ino(le.Uint32(p[0x244:]))
	s.OverheadClusters = le.Uint32(p[0x248:])
	s.BackupGroups = [2]uint32{le.Uint32(p[0x24c:]), le.Uint32(p[0x250:])}
	s.ProjectQuotaIno = Ino(le.Uint32(p[0x26c:]))
	s.Encoding = le.Uint16(p[0x27c:])
	s.EncodingFlags = le.Uint16(p[0x27e:])
	s.OrphanFileIno = Ino(le.Uint32(p[0x280:]))
}

// checkGeometry checks the numbers that everything else is computed from, so that later code can divide and shift by
// them without looking again.
func (s *Superblock) checkGeometry(logBlock, logCluster uint32) error {
	bad := func(format string, args ...any) error { return ondisk.Corruptf("superblock", format, args...) }
	if logBlock > 6 {
		return bad("block size is 2^%d bytes, expected 1 to 64 KiB", uint64(logBlock)+10)
	}
	s.BlockSize = block.MinSize << logBlock
	if s.ROCompat&ROCompatBigalloc != 0 {
		if logCluster < logBlock || logCluster > 20 {
			return bad("cluster size is 2^%d bytes with blocks of %d", uint64(logCluster)+10, s.BlockSize)
		}
		s.ClusterBlocks = 1 << (logCluster - logBlock)
	} else {
		s.ClustersPerGroup = s.BlocksPerGroup
	}
	if s.IsJournalDevice() {
		return nil // a journal device has blocks and no groups
	}
	bitsPerBlock := uint32(s.BlockSize) * 8
	inodesPerBlock := uint32(0)
	if bits.OnesCount16(s.InodeSize) == 1 && s.InodeSize >= 128 {
		inodesPerBlock = uint32(s.BlockSize) / uint32(s.InodeSize)
	}
	switch {
	case inodesPerBlock == 0:
		return bad("inode size is %d bytes with blocks of %d", s.InodeSize, s.BlockSize)
	case s.InodesPerGroup == 0 || s.InodesPerGroup > bitsPerBlock || s.InodesPerGroup%inodesPerBlock != 0:
		return bad(
			"%d inodes a group with blocks of %d bytes and inodes of %d",
			s.InodesPerGroup,
			s.BlockSize,
			s.InodeSize,
		)
	case s.ClustersPerGroup == 0 || s.ClustersPerGroup > bitsPerBlock:
		return bad("%d clusters a group with blocks of %d bytes", s.ClustersPerGroup, s.BlockSize)
	case uint64(s.BlocksPerGroup) != uint64(s.ClustersPerGroup)*uint64(s.ClusterBlocks):
		return bad(
			"%d blocks a group with %d clusters of %d blocks",
			s.BlocksPerGroup,
			s.ClustersPerGroup,
			s.ClusterBlocks,
		)
	case s.Blocks == 0 || s.Blocks > 1<<48 || uint64(s.Blocks) > (1<<63-1)/uint64(s.BlockSize):
		return bad("%d blocks of %d bytes", uint64(s.Blocks), s.BlockSize)
	case s.FirstDataBlock >= s.Blocks || s.FirstDataBlock > 1:
		return bad("first data block is %d of %d", uint64(s.FirstDataBlock), uint64(s.Blocks))
	case s.DescSize < 32 || s.DescSize > 1024 || s.DescSize&(s.DescSize-1) != 0:
		return bad("group descriptors of %d bytes", s.DescSize)
	case s.Incompat&Incompat64Bit != 0 && s.DescSize < 64:
		return bad("group descriptors of %d bytes with the 64bit feature", s.DescSize)
	case s.FirstIno < 11 && s.Revision > 0:
		return bad("first ordinary inode is %d", s.FirstIno)
	}
	groups := (uint64(s.Blocks-s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup)
	switch {
	case groups > 1<<32-2:
		return bad("%d block groups", groups)
	case uint64(s.Inodes) > groups*uint64(s.InodesPerGroup):
		return bad("%d inodes, but %d groups of %d", s.Inodes, groups, s.InodesPerGroup)
	case s.Inodes < uint32(s.FirstIno):
		return bad("%d inodes", s.Inodes)
	}
	return nil
}

// IsJournalDevice reports whether this is an external journal and no file system.
func (s *Superblock) IsJournalDevice() bool { return s.Incompat&IncompatJournalDev != 0 }

// CheckReadable returns an UnsupportedError that names the features that varve cannot read, if there are any.
func (s *Superblock) CheckReadable() error {
	if s.IsJournalDevice() {
		return &ondisk.UnsupportedError{Feature: "journal_dev",
			Advice: "this is an external journal and holds no files: name the file system's image, and this one " +
				"with --journal-device"}
	}
	if unknown := s.Incompat &^ ReadIncompat; unknown != 0 {
		return &ondisk.UnsupportedError{Feature: unknown.String(),
			Advice: "without knowing it, files would be read wrongly, so neither a mount nor ls, cat, cp or tar is " +
				"possible; varve info describes the image, and a newer kernel or e2fsprogs may read it"}
	}
	return nil
}

// Groups is the number of block groups.
func (s *Superblock) Groups() Group {
	return Group((uint64(s.Blocks-s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup))
}

// GroupFirst is the first block of a group.
func (s *Superblock) GroupFirst(g Group) block.Number {
	return s.FirstDataBlock + block.Number(g)*block.Number(s.BlocksPerGroup)
}

// GroupBlocks is the number of blocks in a group: the last one may be short.
func (s *Superblock) GroupBlocks(g Group) uint32 {
	return uint32(min(uint64(s.BlocksPerGroup), uint64(s.Blocks-s.GroupFirst(g))))
}

// ClusterSize is the size of a cluster in bytes: that of a block but with bigalloc.
func (s *Superblock) ClusterSize() uint64 { return uint64(s.BlockSize) * uint64(s.ClusterBlocks) }

// GroupClusters is the number of clusters in a group, which are the bits of its block bitmap.
func (s *Superblock) GroupClusters(g Group) uint32 {
	return uint32((uint64(s.GroupBlocks(g)) + uint64(s.ClusterBlocks) - 1) / uint64(s.ClusterBlocks))
}

// Contains reports whether n blocks from first on lie on the image and behind the first data block.
func (s *Superblock) Contains(first block.Number, n uint64) bool {
	return first >= s.FirstDataBlock && first < s.Blocks && n <= uint64(s.Blocks-first)
}

// HasMetadataCsum reports whether all metadata carries CRC32C checksums.
func (s *Superblock) HasMetadataCsum() bool { return s.ROCompat&ROCompatMetadataCsum != 0 }

// HasGroupCsum reports whether group descriptors carry a checksum and the UNINIT flags are valid.
func (s *Superblock) HasGroupCsum() bool {
	return s.ROCompat&(ROCompatMetadataCsum|ROCompatGDTCsum) != 0
}

// Seed is the start value of the metadata checksums.
func (s *Superblock) Seed() Seed { return s.seed }

// IsHurd reports whether inodes have the Hurd's fields (a translator, an author) where Linux has others.
func (s *Superblock) IsHurd() bool { return s.CreatorOS == creatorHurd }

// PutDynamicRevision makes a superblock of revision 0 one of revision 1, whose fields say what revision 0 means, and
// whose features count. Others stay what they are.
func PutDynamicRevision(p []byte) {
	le := binary.LittleEndian
	if le.Uint32(p[0x4c:]) != 0 {
		return
	}
	le.PutUint32(p[0x4c:], 1)
	le.PutUint32(p[0x54:], 11) // the first ordinary inode
	le.PutUint16(p[0x58:], inodeBaseSize)
}

// Kind names the generation of the format that the features amount to: "ext2", "ext3" or "ext4".
func (s *Superblock) Kind() string {
	const ext3 = IncompatFiletype | IncompatRecover | IncompatMetaBG
	const ext3RO = ROCompatSparseSuper | ROCompatLargeFile | ROCompatBtreeDir
	switch {
	case s.Incompat&^ext3 != 0 || s.ROCompat&^ext3RO != 0:
		return "ext4"
	case s.Compat&CompatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// HasSuper reports whether a group holds a copy of the superblock (ext4 doc, "Layout", sparse_super).
func (s *Superblock) HasSuper(g Group) bool {
	switch {
	case g == 0:
		return true
	case s.Compat&CompatSparseSuper2 != 0:
		return uint32(g) == s.BackupGroups[0] || uint32(g) == s.BackupGroups[1]
	case g == 1 || s.ROCompat&ROCompatSparseSuper == 0:
		return true
	}
	return isPowerOf(g, 3) || isPowerOf(g, 5) || isPowerOf(g, 7)
}

func isPowerOf(g Group, base uint64) bool {
	n := base
	for n < uint64(g) {
		n *= base
	}
	return n == uint64(g)
}

// DescBlock is the block that holds the descriptor of group g, and the descriptor's byte offset in it (ext4 doc,
// "Meta Block Groups").
func (s *Superblock) DescBlock(g Group) (block.Number, int) {
	perBlock := uint64(s.BlockSize) / uint64(s.DescSize)
	nth := uint64(g) / perBlock
	offset := int(uint64(g) % perBlock * uint64(s.DescSize))
	if s.Incompat&IncompatMetaBG == 0 || nth < uint64(s.FirstMetaBG) {
		// Not FirstDataBlock: with bigalloc that is 0 although blocks of 1 KiB put the superblock into block 1.
		return block.Number(SuperblockOffset/s.BlockSize) + 1 + block.Number(nth), offset
	}
	first := Group(nth * perBlock)
	n := s.GroupFirst(first)
	if s.HasSuper(first) {
		n++
	}
	if s.BlockSize == 1024 && nth == 0 && s.FirstDataBlock == 0 {
		n++
	}
	return n, offset
}

// InodeBlock is the place of an inode's slot relative to its group's inode table: the group, the block within the
// table, and the byte offset within the block. The caller has checked ino against Inodes.
func (s *Superblock) InodeBlock(ino Ino) (g Group, nth block.Number, offset int) {
	index := uint32(ino-1) % s.InodesPerGroup
	perBlock := uint32(s.BlockSize) / uint32(s.InodeSize)
	return Group(
			uint32(ino-1) / s.InodesPerGroup,
		), block.Number(
			index / perBlock,
		), int(
			index%perBlock,
		) * int(
			s.InodeSize,
		)
}

// ITableBlocks is the length of each group's inode table in blocks.
func (s *Superblock) ITableBlocks() uint32 {
	return s.InodesPerGroup / (uint32(s.BlockSize) / uint32(s.InodeSize))
}

// superTime decodes a time of the superblock: 32 bits at lo and 8 more at hi, in seconds.
func superTime(p []byte, lo, hi int) time.Time {
	sec := int64(binary.LittleEndian.Uint32(p[lo:])) | int64(p[hi])<<32
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0).UTC()
}

func cString(p []byte) string {
	s, _, _ := strings.Cut(string(p), "\x00")
	return s
}

// FormatUUID prints a UUID in the usual groups of hexadecimal digits.
func FormatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// Values of Encoding and EncodingFlags, for directories that ignore case.
const (
	EncodingUTF8   = 1 // of Unicode 12.1
	EncodingStrict = 1 // names there must be valid
)
