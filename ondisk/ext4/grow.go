package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
)

// Size is what a superblock says of the size of a file system, and what follows from it.
type Size struct {
	Blocks            block.Number
	ReservedBlocks    uint64
	FreeBlocks        uint64
	Inodes            uint32
	FreeInodes        uint32
	ReservedGDTBlocks uint16
	OverheadClusters  uint32
}

// Size is the size that a superblock has.
func (s *Superblock) Size() Size {
	return Size{s.Blocks, s.ReservedBlocks, s.FreeBlocks, s.Inodes, s.FreeInodes, s.ReservedGDTBlocks, s.OverheadClusters}
}

// PutSize writes a size into the bytes of a superblock, and seals them. A superblock that is torn between its two
// sectors fits its checksum as it did before: the first half keeps what it adds to the sum (SealSuperblock), and the
// sum in the second half follows from that half alone.
func (s *Superblock) PutSize(p []byte, z Size) {
	le := binary.LittleEndian
	le.PutUint32(p[0x0:], z.Inodes)
	le.PutUint32(p[0x4:], uint32(z.Blocks))
	le.PutUint32(p[0x8:], uint32(z.ReservedBlocks))
	le.PutUint32(p[0xc:], uint32(z.FreeBlocks))
	le.PutUint32(p[0x10:], z.FreeInodes)
	le.PutUint16(p[0xce:], z.ReservedGDTBlocks)
	if s.Incompat&Incompat64Bit != 0 {
		le.PutUint32(p[0x150:], uint32(z.Blocks>>32))
		le.PutUint32(p[0x154:], uint32(z.ReservedBlocks>>32))
		le.PutUint32(p[0x158:], uint32(z.FreeBlocks>>32))
	}
	s.SealSuperblock(p)
	le.PutUint32(p[0x248:], z.OverheadClusters)
	s.sealSecondHalf(p)
}

// sealSecondHalf makes the checksum of a superblock fit changes of its second half.
func (s *Superblock) sealSecondHalf(p []byte) {
	if s.HasMetadataCsum() {
		binary.LittleEndian.PutUint32(p[0x3fc:], CRC32C(^uint32(0), p[:0x3fc]))
	}
}

// PutBackup makes the bytes of a superblock those of its copy in a group.
func (s *Superblock) PutBackup(p []byte, g Group) {
	s.PutRecovery(p, false, false)
	PutClean(p, true)
	binary.LittleEndian.PutUint16(p[0x5a:], uint16(g))
	s.SealSuperblock(p)
}

// PutGroupDesc writes the descriptor of group g, and seals it.
func (s *Superblock) PutGroupDesc(g Group, p []byte, d GroupDesc) {
	p = p[:s.DescSize]
	clear(p)
	le := binary.LittleEndian
	le.PutUint32(p[0x0:], uint32(d.BlockBitmap))
	le.PutUint32(p[0x4:], uint32(d.InodeBitmap))
	le.PutUint32(p[0x8:], uint32(d.InodeTable))
	le.PutUint16(p[0x10:], uint16(d.UsedDirs))
	le.PutUint16(p[0x12:], d.Flags)
	if s.Incompat&Incompat64Bit != 0 && len(p) >= 64 {
		le.PutUint32(p[0x20:], uint32(d.BlockBitmap>>32))
		le.PutUint32(p[0x24:], uint32(d.InodeBitmap>>32))
		le.PutUint32(p[0x28:], uint32(d.InodeTable>>32))
		le.PutUint16(p[0x30:], uint16(d.UsedDirs>>16))
	}
	s.PutGroupCounts(p, GroupCounts{d.FreeBlocks, d.FreeInodes, d.ITableUnused, d.BlockBitmapCsum, d.InodeBitmapCsum})
	s.SealGroupDesc(g, p)
}

// DescsPerBlock is how many group descriptors a block holds.
func (s *Superblock) DescsPerBlock() Group { return Group(uint32(s.BlockSize) / uint32(s.DescSize)) }

// InMetaGroup reports whether the descriptor of a group lies in its meta block group (meta_bg), and not behind the
// superblock.
func (s *Superblock) InMetaGroup(g Group) bool {
	return s.Incompat&IncompatMetaBG != 0 && uint32(g/s.DescsPerBlock()) >= s.FirstMetaBG
}

// HeadBlocks is how many blocks at the start of a group hold copies of the superblock and of descriptors, or are kept
// for those.
func (s *Superblock) HeadBlocks(g Group) (n uint64) {
	if s.HasSuper(g) {
		n++
	}
	per := s.DescsPerBlock()
	if !s.InMetaGroup(g) {
		if n > 0 {
			descs := (uint64(s.Groups()) + uint64(per) - 1) / uint64(per)
			if s.Incompat&IncompatMetaBG != 0 {
				descs = min(descs, uint64(s.FirstMetaBG))
			}
			n += descs + uint64(s.ReservedGDTBlocks)
		}
		return n
	}
	if at := g % per; at == 0 || at == 1 || at == per-1 {
		n++
	}
	return n
}
