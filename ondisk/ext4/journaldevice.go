package ext4

import (
	"encoding/binary"
	"math/bits"

	"github.com/varvefs/varve/internal/block"
)

// NewJournalDevice makes the superblock of an external journal of so many blocks, as mke2fs -O journal_dev does. The
// journal's own superblock is in the block behind the one with this.
func NewJournalDevice(size block.Size, blocks uint32, id LogID) []byte {
	p := make([]byte, SuperblockSize)
	le := binary.LittleEndian
	le.PutUint32(p[0x4:], blocks)
	if size == SuperblockOffset {
		le.PutUint32(p[0x14:], 1)
	}
	shift := uint32(bits.TrailingZeros32(uint32(size))) - 10
	le.PutUint32(p[0x18:], shift)
	le.PutUint32(p[0x1c:], shift)
	le.PutUint32(p[0x20:], 8*uint32(size))
	le.PutUint32(p[0x24:], 8*uint32(size))
	le.PutUint16(p[0x36:], 0xffff) // never checked for the number of mounts
	le.PutUint16(p[0x38:], superMagic)
	le.PutUint16(p[0x3a:], StateClean)
	le.PutUint16(p[0x3c:], 1)
	le.PutUint32(p[0x4c:], 1)
	le.PutUint32(p[0x54:], 11)
	le.PutUint16(p[0x58:], 256)
	le.PutUint32(p[0x60:], uint32(IncompatJournalDev))
	PutLogID(p, id)
	return p
}

// PutLogID changes the UUID of a journal device, which lies in one sector.
func PutLogID(p []byte, id LogID) { copy(p[0x68:], id[:]) }

// JournalDeviceStart is the block of an external journal that has the journal's superblock.
func JournalDeviceStart(size block.Size) block.Number {
	return block.Number(SuperblockOffset/uint32(size)) + 1
}
