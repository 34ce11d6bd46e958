package ext4

import (
	"encoding/binary"
	"time"

	"github.com/varvefs/varve/ondisk"
)

const mmpMagic = 0x004d4d50

// MMP sequence values: two that are no counter, and the greatest that is one (ext4 doc, "Multiple Mount Protection").
const (
	MMPClean = 0xff4d4d50
	MMPFsck  = 0xe24d4d50
	MMPMax   = 0xe24d4d4f
)

// MMP is the block by which hosts see that the file system is in use (ext4 doc, "Multiple Mount
// Protection").
type MMP struct {
	Sequence uint32
	Time     time.Time
	Node     string // at most 64 bytes
	Device   string // at most 32 bytes
	Check    uint16 // s: the counter of one who has the file system open changes at least so often
}

// InUse reports whether the sequence says that a host has the file system mounted, or checks it.
func (m *MMP) InUse() bool { return m.Sequence != MMPClean }

// DecodeMMP decodes and checks the MMP block.
func (s *Superblock) DecodeMMP(p []byte) (*MMP, error) {
	const where = "multiple mount protection block"
	le := binary.LittleEndian
	if len(p) < 1024 {
		return nil, ondisk.Corruptf(where, "only %d bytes long", len(p))
	}
	if m := le.Uint32(p); m != mmpMagic {
		return nil, ondisk.Corruptf(where, "magic is 0x%08x, expected 0x%08x", m, mmpMagic)
	}
	if s.HasMetadataCsum() {
		stored := le.Uint32(p[0x3fc:])
		if sum := CRC32C(uint32(s.seed), p[:0x3fc]); sum != stored {
			return nil, ondisk.Checksum(where, stored, sum)
		}
	}
	return &MMP{
		Sequence: le.Uint32(p[4:]),
		Time:     time.Unix(int64(le.Uint64(p[8:])), 0).UTC(),
		Node:     cString(p[0x10:0x50]),
		Device:   cString(p[0x50:0x70]),
		Check:    le.Uint16(p[0x70:]),
	}, nil
}

// PutMMP writes the fields of m into an MMP block, and seals it.
func (s *Superblock) PutMMP(p []byte, m *MMP) {
	le := binary.LittleEndian
	le.PutUint32(p, mmpMagic)
	le.PutUint32(p[4:], m.Sequence)
	le.PutUint64(p[8:], uint64(m.Time.Unix()))
	clear(p[0x10:0x70])
	copy(p[0x10:0x50], m.Node)
	copy(p[0x50:0x70], m.Device)
	le.PutUint16(p[0x70:], m.Check)
	if s.HasMetadataCsum() {
		le.PutUint32(p[0x3fc:], CRC32C(uint32(s.seed), p[:0x3fc]))
	}
}
