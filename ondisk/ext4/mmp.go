package ext4

import (
	"encoding/binary"
	"time"

	"github.com/varvefs/varve/ondisk"
)

const mmpMagic = 0x004d4d50

// MMP sequence values that are no counter (ext4 doc, "Multiple Mount Protection").
const (
	MMPClean = 0xff4d4d50
	MMPFsck  = 0xe24d4d50
)

// MMP is the block by which hosts tell each other that the file system is in use (ext4 doc, "Multiple Mount
// Protection").
type MMP struct {
	Sequence uint32
	Time     time.Time
	Node     string
	Device   string
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
	}, nil
}
