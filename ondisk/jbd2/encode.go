package jbd2

import (
	"encoding/binary"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// PutStart writes where the oldest transaction begins (0: nothing to replay) and its sequence into the bytes of a
// journal's superblock, and seals it.
func (s *Superblock) PutStart(p []byte, start uint32, sequence Sequence) {
	be := binary.BigEndian
	be.PutUint32(p[0x18:], uint32(sequence))
	be.PutUint32(p[0x1c:], start)
	s.Start, s.Sequence = start, sequence
	s.seal(p)
}

// ErrnoIO is what PutErrno notes for an error of the device: -EIO, and what else ends the use of a journal counts as
// that.
const ErrnoIO = -5

// PutErrno notes an error that ended the journal's use (a negative errno), or with 0 that there is none to report any
// more.
func (s *Superblock) PutErrno(p []byte, errno int32) {
	s.Errno = errno
	binary.BigEndian.PutUint32(p[0x20:], uint32(errno))
	s.seal(p)
}

// PutFeatures sets the features that the log is written with from now on. The log must be empty, and the superblock of
// version 2.
func (s *Superblock) PutFeatures(p []byte, compat, incompat uint32) {
	be := binary.BigEndian
	s.Compat, s.Incompat = compat, incompat
	be.PutUint32(p[0x24:], s.Compat)
	be.PutUint32(p[0x28:], incompat)
	if s.HasChecksums() {
		p[0x50] = 4 // crc32c
	}
	s.seal(p)
}

func (s *Superblock) seal(p []byte) {
	if !s.HasChecksums() {
		return
	}
	sum := crc32c(^uint32(0), p[:0xfc])
	sum = crc32c(sum, []byte{0, 0, 0, 0})
	binary.BigEndian.PutUint32(p[0xfc:], crc32c(sum, p[0x100:superblockSize]))
}

func putHeader(p []byte, typ uint32, seq Sequence) {
	be := binary.BigEndian
	be.PutUint32(p, Magic)
	be.PutUint32(p[4:], typ)
	be.PutUint32(p[8:], uint32(seq))
}

// sealTail writes the CRC32C into the last four bytes of a descriptor or revoke block.
func (s *Superblock) sealTail(p []byte) {
	if s.HasChecksums() {
		end := len(p) - 4
		binary.BigEndian.PutUint32(p[end:], 0)
		binary.BigEndian.PutUint32(p[end:], crc32c(s.seed, p))
	}
}

// tailSize is the room at the end of a descriptor or revoke block that its checksum takes.
func (s *Superblock) tailSize() int {
	if s.HasChecksums() {
		return 4
	}
	return 0
}

// TagsPerBlock is how many tags a descriptor block holds.
func (s *Superblock) TagsPerBlock() int {
	return (int(s.BlockSize) - headerSize - s.tailSize() - 16) / s.tagSize()
}

// RevokesPerBlock is how many blocks one revoke block names.
func (s *Superblock) RevokesPerBlock() int {
	return (int(s.BlockSize) - revokeHeader - s.tailSize()) / s.revokeSize()
}

func (s *Superblock) revokeSize() int {
	if s.Incompat&Incompat64Bit != 0 {
		return 8
	}
	return 4
}

// Escape takes the journal's magic away from the beginning of a block that is to be logged, and reports whether it was
// there.
func Escape(p []byte) bool {
	if binary.BigEndian.Uint32(p) != Magic {
		return false
	}
	binary.BigEndian.PutUint32(p, 0)
	return true
}

// EncodeDescriptor makes the descriptor block of the blocks that follow it in the log: at most TagsPerBlock, as they
// lie there. p has the length of a block.
func (s *Superblock) EncodeDescriptor(p []byte, seq Sequence, homes []block.Number, escaped []bool, data [][]byte) {
	clear(p)
	putHeader(p, TypeDescriptor, seq)
	be := binary.BigEndian
	at := headerSize
	for i, home := range homes {
		q := p[at:]
		var flags uint32
		if escaped[i] {
			flags |= tagEscaped
		}
		if i > 0 {
			flags |= tagSameUUID
		}
		if i == len(homes)-1 {
			flags |= tagLast
		}
		be.PutUint32(q, uint32(home))
		sum := s.dataSum(seq, data[i])
		if s.Incompat&IncompatCsumV3 != 0 {
			be.PutUint32(q[4:], flags)
			be.PutUint32(q[12:], sum)
		} else {
			be.PutUint16(q[6:], uint16(flags))
			if s.Incompat&IncompatCsumV2 != 0 {
				be.PutUint16(q[4:], uint16(sum))
			}
		}
		if s.Incompat&Incompat64Bit != 0 {
			be.PutUint32(q[8:], uint32(home>>32))
		}
		at += s.tagSize()
		if i == 0 {
			copy(p[at:], s.UUID[:])
			at += 16
		}
	}
	s.sealTail(p)
}

// dataSum is the checksum of a logged block, as it lies in the log; 0 where the journal has none.
func (s *Superblock) dataSum(seq Sequence, p []byte) uint32 {
	if !s.HasChecksums() {
		return 0
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(seq))
	return crc32c(crc32c(s.seed, b[:]), p)
}

// EncodeRevoke makes a revoke block of at most RevokesPerBlock blocks.
func (s *Superblock) EncodeRevoke(p []byte, seq Sequence, homes []block.Number) {
	clear(p)
	putHeader(p, TypeRevoke, seq)
	be := binary.BigEndian
	at := revokeHeader
	for _, home := range homes {
		if s.revokeSize() == 8 {
			be.PutUint64(p[at:], uint64(home))
		} else {
			be.PutUint32(p[at:], uint32(home))
		}
		at += s.revokeSize()
	}
	be.PutUint32(p[headerSize:], uint32(at))
	s.sealTail(p)
}

// EncodeCommit makes the commit block of a transaction. sumV1 is SumV1 of its descriptors and the blocks that they
// name, for journals with checksums of version 1.
func (s *Superblock) EncodeCommit(p []byte, seq Sequence, at time.Time, sumV1 uint32) {
	clear(p)
	putHeader(p, TypeCommit, seq)
	be := binary.BigEndian
	be.PutUint64(p[0x30:], uint64(at.Unix()))
	be.PutUint32(p[0x38:], uint32(at.Nanosecond()))
	switch {
	case s.HasChecksums():
		be.PutUint32(p[0x10:], crc32c(s.seed, p))
	case s.Compat&CompatChecksum != 0:
		p[0xc], p[0xd] = commitCRC32, commitCRC32Sz
		be.PutUint32(p[0x10:], sumV1)
	}
}

// NewSuperblock makes the superblock of an empty journal of so many blocks, as it lies in its first block.
func NewSuperblock(size block.Size, blocks uint32, uuid [16]byte, incompat uint32) []byte {
	p := make([]byte, size)
	putHeader(p, TypeSuperblockV2, 0)
	be := binary.BigEndian
	be.PutUint32(p[0xc:], uint32(size))
	be.PutUint32(p[0x10:], blocks)
	be.PutUint32(p[0x14:], 1) // the log begins behind it
	be.PutUint32(p[0x18:], 1)
	be.PutUint32(p[0x28:], incompat)
	copy(p[0x30:], uuid[:])
	be.PutUint32(p[0x40:], 1) // users
	s := &Superblock{Incompat: incompat}
	if s.HasChecksums() {
		p[0x50] = 4
	}
	s.seal(p)
	return p
}

// NewExternalSuperblock is NewSuperblock for a journal on a device of its own, whose superblock is block at of it, and
// that one file system uses.
func NewExternalSuperblock(size block.Size, blocks, at uint32, uuid, user [16]byte, incompat uint32) []byte {
	p := NewSuperblock(size, blocks, uuid, incompat)
	binary.BigEndian.PutUint32(p[0x14:], at+1)
	copy(p[0x100:], user[:])
	s := &Superblock{Incompat: incompat}
	s.seal(p)
	return p
}
