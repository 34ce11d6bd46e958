package jbd2

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// Features of a journal (ext4 doc, Journal, "Super Block").
const (
	CompatChecksum      = 0x1
	IncompatRevoke      = 0x1
	Incompat64Bit       = 0x2
	IncompatAsyncCommit = 0x4
	IncompatCsumV2      = 0x8
	IncompatCsumV3      = 0x10
	IncompatFastCommit  = 0x20
	knownIncompat       = 0x3f
)

var incompatNames = []string{"revoke", "64bit", "async_commit", "checksum_v2", "checksum_v3", "fast_commit"}

const (
	superblockSize        = 1024
	defaultFastCommitArea = 256
	minLogBlocks          = 8
)

// Superblock describes a journal (ext4 doc, Journal, "Super Block").
type Superblock struct {
	BlockSize  block.Size
	Blocks     uint32 // blocks of the whole journal, the superblock among them
	First      uint32 // first block of the log
	Sequence   Sequence
	Start      uint32 // block of the oldest transaction to replay; 0: nothing to replay
	Errno      int32  // why an earlier use of the journal ended: a negative errno, or 0
	Compat     uint32
	Incompat   uint32
	ROCompat   uint32
	UUID       [16]byte
	Users      [][16]byte // file systems that use an external journal
	FastBlocks uint32     // blocks of the fast-commit area at the end
	Version    int

	seed     uint32
	unsealed bool
}

// DecodeSuperblock decodes and checks the first 1,024 bytes of a journal.
func DecodeSuperblock(p []byte) (*Superblock, error) {
	const where = "journal superblock"
	h, ok := DecodeHeader(p)
	if !ok || len(p) < superblockSize {
		return nil, ondisk.Corruptf(where, "has no journal magic")
	}
	be := binary.BigEndian
	s := &Superblock{
		BlockSize: block.Size(be.Uint32(p[0xc:])),
		Blocks:    be.Uint32(p[0x10:]),
		First:     be.Uint32(p[0x14:]),
		Sequence:  Sequence(be.Uint32(p[0x18:])),
		Start:     be.Uint32(p[0x1c:]),
		Errno:     int32(be.Uint32(p[0x20:])),
		Version:   int(h.Type) - TypeSuperblockV1 + 1,
	}
	switch h.Type {
	case TypeSuperblockV1:
	case TypeSuperblockV2:
		s.decodeV2(p)
	default:
		return nil, ondisk.Corruptf(where, "block type is %d", h.Type)
	}
	if unknown := s.Incompat &^ knownIncompat; unknown != 0 {
		return nil, &ondisk.UnsupportedError{Feature: fmt.Sprintf("journal feature 0x%x", unknown),
			Advice: "mount with -o norecovery to see the files as they were before the journal"}
	}
	if s.HasChecksums() {
		if s.Incompat&IncompatCsumV2 != 0 && s.Incompat&IncompatCsumV3 != 0 || s.Compat&CompatChecksum != 0 {
			return nil, ondisk.Corruptf(where, "has more than one checksum feature")
		}
		if p[0x50] != 4 {
			return nil, ondisk.Corruptf(where, "checksum type is %d, expected 4 (crc32c)", p[0x50])
		}
		stored := be.Uint32(p[0xfc:])
		sum := crc32c(^uint32(0), p[:0xfc])
		sum = crc32c(sum, []byte{0, 0, 0, 0})
		if sum = crc32c(sum, p[0x100:superblockSize]); sum != stored {
			return nil, ondisk.Checksum(where, stored, sum)
		}
	}
	return s, s.check()
}

func (s *Superblock) decodeV2(p []byte) {
	be := binary.BigEndian
	s.Compat = be.Uint32(p[0x24:])
	s.Incompat = be.Uint32(p[0x28:])
	s.ROCompat = be.Uint32(p[0x2c:])
	copy(s.UUID[:], p[0x30:])
	s.seed = crc32c(^uint32(0), s.UUID[:])
	for i := range min(be.Uint32(p[0x40:]), 48) {
		s.Users = append(s.Users, [16]byte(p[0x100+16*i:]))
	}
	if s.Incompat&IncompatFastCommit != 0 {
		if s.FastBlocks = be.Uint32(p[0x54:]); s.FastBlocks == 0 {
			s.FastBlocks = defaultFastCommitArea
		}
	}
}

func (s *Superblock) check() error {
	const where = "journal superblock"
	switch {
	case !s.BlockSize.Valid():
		return ondisk.Corruptf(where, "block size is %d bytes", uint32(s.BlockSize))
	case s.FastBlocks >= s.Blocks || s.Blocks-s.FastBlocks < minLogBlocks:
		return ondisk.Corruptf(where, "%d blocks, of which %d for fast commits", s.Blocks, s.FastBlocks)
	case s.First == 0 || s.First >= s.End():
		return ondisk.Corruptf(where, "log begins at block %d of %d", s.First, s.End())
	case s.Start != 0 && (s.Start < s.First || s.Start >= s.End()):
		return ondisk.Corruptf(
			where,
			"oldest transaction at block %d, outside the log of %d to %d",
			s.Start,
			s.First,
			s.End(),
		)
	}
	return nil
}

// End is the block behind the log: the log wraps from End to First.
func (s *Superblock) End() uint32 { return s.Blocks - s.FastBlocks }

// FastFirst is the first block of the fast-commit area, which reaches to the journal's end. The kernel leaves one block
// free between the log and it.
func (s *Superblock) FastFirst() uint32 { return s.End() + 1 }

// HasChecksums reports whether blocks carry CRC32C checksums (version 2 or 3).
func (s *Superblock) HasChecksums() bool { return s.Incompat&(IncompatCsumV2|IncompatCsumV3) != 0 }

// Unsealed is the superblock for showing blocks that are damaged: descriptors and revocations that are decoded with it
// need not match their checksums.
func (s *Superblock) Unsealed() *Superblock {
	u := *s
	u.unsealed = true
	return &u
}

// FeatureNames lists the features by the names that e2fsprogs prints.
func (s *Superblock) FeatureNames() string {
	var out []string
	if s.Compat&CompatChecksum != 0 {
		out = append(out, "journal_checksum")
	}
	for i, name := range incompatNames {
		if s.Incompat&(1<<i) != 0 {
			out = append(out, "journal_"+name)
		}
	}
	return strings.Join(out, " ")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC32C without the inversions of hash/crc32, as the kernel has it.
func crc32c(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// tailSum checks the CRC32C in the last four bytes of a descriptor or revoke block.
func (s *Superblock) tailSum(where string, p []byte) error {
	if !s.HasChecksums() || s.unsealed {
		return nil
	}
	end := len(p) - 4
	sum := crc32c(s.seed, p[:end])
	sum = crc32c(sum, []byte{0, 0, 0, 0})
	if stored := binary.BigEndian.Uint32(p[end:]); stored != sum {
		return ondisk.Checksum(where, stored, sum)
	}
	return nil
}
