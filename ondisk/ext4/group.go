package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// Bits of GroupDesc.Flags.
const (
	GroupInodeUninit = 0x1 // the inode table and bitmap are not initialised
	GroupBlockUninit = 0x2 // the block bitmap is not initialised
	GroupITableZero  = 0x4 // the inode table is zeroed
)

// GroupDesc describes one block group (ext4 doc, "Block Group Descriptors"). It is 32 bytes long, 64 and more with the
// 64bit feature.
type GroupDesc struct {
	BlockBitmap     block.Number
	InodeBitmap     block.Number
	InodeTable      block.Number
	FreeBlocks      uint32 // clusters with bigalloc
	FreeInodes      uint32
	UsedDirs        uint32
	Flags           uint16
	BlockBitmapCsum uint32
	InodeBitmapCsum uint32
	ITableUnused    uint32
	Checksum        uint16
}

// DecodeGroupDesc decodes the descriptor of group g from its s.DescSize bytes, and checks that the inode table lies on
// the image. It leaves the checksum to CheckGroupDesc, because a reader can do without: the kernel, too, mounts
// read-only where it is wrong.
func (s *Superblock) DecodeGroupDesc(g Group, p []byte) (GroupDesc, error) {
	where := func() string { return fmt.Sprintf("group descriptor %d", g) }
	if len(p) < int(s.DescSize) {
		return GroupDesc{}, ondisk.Corruptf(where(), "only %d bytes long", len(p))
	}
	p = p[:s.DescSize]
	le := binary.LittleEndian
	d := GroupDesc{
		BlockBitmap:     block.Number(le.Uint32(p[0x0:])),
		InodeBitmap:     block.Number(le.Uint32(p[0x4:])),
		InodeTable:      block.Number(le.Uint32(p[0x8:])),
		FreeBlocks:      uint32(le.Uint16(p[0xc:])),
		FreeInodes:      uint32(le.Uint16(p[0xe:])),
		UsedDirs:        uint32(le.Uint16(p[0x10:])),
		Flags:           le.Uint16(p[0x12:]),
		BlockBitmapCsum: uint32(le.Uint16(p[0x18:])),
		InodeBitmapCsum: uint32(le.Uint16(p[0x1a:])),
		ITableUnused:    uint32(le.Uint16(p[0x1c:])),
		Checksum:        le.Uint16(p[0x1e:]),
	}
	if s.Incompat&Incompat64Bit != 0 && len(p) >= 64 {
		d.BlockBitmap |= block.Number(le.Uint32(p[0x20:])) << 32
		d.InodeBitmap |= block.Number(le.Uint32(p[0x24:])) << 32
		d.InodeTable |= block.Number(le.Uint32(p[0x28:])) << 32
		d.FreeBlocks |= uint32(le.Uint16(p[0x2c:])) << 16
		d.FreeInodes |= uint32(le.Uint16(p[0x2e:])) << 16
		d.UsedDirs |= uint32(le.Uint16(p[0x30:])) << 16
		d.ITableUnused |= uint32(le.Uint16(p[0x32:])) << 16
		d.BlockBitmapCsum |= uint32(le.Uint16(p[0x38:])) << 16
		d.InodeBitmapCsum |= uint32(le.Uint16(p[0x3a:])) << 16
	}
	if !s.Contains(d.InodeTable, uint64(s.ITableBlocks())) {
		return d, ondisk.Corruptf(
			where(),
			"inode table at block %d is not on the image of %d blocks",
			uint64(d.InodeTable),
			uint64(s.Blocks),
		)
	}
	return d, nil
}

// CheckGroupDesc checks the checksum of the descriptor of group g, where the file system has them.
func (s *Superblock) CheckGroupDesc(g Group, p []byte) error {
	if !s.HasGroupCsum() {
		return nil
	}
	p = p[:s.DescSize]
	stored := binary.LittleEndian.Uint16(p[0x1e:])
	if sum := s.groupChecksum(g, p); sum != stored {
		return ondisk.Checksum(fmt.Sprintf("group descriptor %d", g), uint32(stored), uint32(sum))
	}
	return nil
}

// groupChecksum computes a descriptor's checksum: the low half of a CRC32C with metadata_csum, a CRC-16 with uninit_bg
// alone (ext4 doc, "Block Group Descriptors").
func (s *Superblock) groupChecksum(g Group, p []byte) uint16 {
	if s.HasMetadataCsum() {
		sum := crc32cLE32(uint32(s.seed), uint32(g))
		sum = CRC32C(sum, p[:0x1e])
		sum = CRC32C(sum, []byte{0, 0})
		return uint16(CRC32C(sum, p[0x20:]))
	}
	var nr [4]byte
	binary.LittleEndian.PutUint32(nr[:], uint32(g))
	sum := crc16(0xffff, s.UUID[:])
	sum = crc16(sum, nr[:])
	sum = crc16(sum, p[:0x1e])
	if s.Incompat&Incompat64Bit != 0 {
		sum = crc16(sum, p[0x20:])
	}
	return sum
}
