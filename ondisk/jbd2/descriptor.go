package jbd2

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

const (
	tagEscaped  = 1
	tagSameUUID = 2
	tagLast     = 8
)

// Tag names the home of one logged block (ext4 doc, Journal, "Descriptor Block").
type Tag struct {
	Home     block.Number
	Escaped  bool // the block's first four bytes were the journal's magic, and are zero in the log
	checksum uint32
}

// tagSize is the length of a tag in bytes, without the UUID that may follow it.
func (s *Superblock) tagSize() int {
	if s.Incompat&IncompatCsumV3 != 0 {
		return 16
	}
	n := 8
	if s.Incompat&IncompatCsumV2 != 0 {
		n += 2
	}
	if s.Incompat&Incompat64Bit != 0 {
		n += 4
	}
	return n
}

// DecodeDescriptor decodes the tags of a descriptor block and checks its checksum.
func (s *Superblock) DecodeDescriptor(seq Sequence, p []byte) ([]Tag, error) {
	where := fmt.Sprintf("journal transaction %d, descriptor", seq)
	if err := s.tailSum(where, p); err != nil {
		return nil, err
	}
	end := len(p)
	if s.HasChecksums() {
		end -= 4
	}
	be := binary.BigEndian
	size := s.tagSize()
	var tags []Tag
	for at := headerSize; at+size <= end; {
		q := p[at:]
		t := Tag{Home: block.Number(be.Uint32(q))}
		var flags uint32
		if s.Incompat&IncompatCsumV3 != 0 {
			flags = be.Uint32(q[4:])
			t.checksum = be.Uint32(q[12:])
		} else {
			t.checksum = uint32(be.Uint16(q[4:]))
			flags = uint32(be.Uint16(q[6:]))
		}
		if s.Incompat&Incompat64Bit != 0 {
			t.Home |= block.Number(be.Uint32(q[8:])) << 32
		}
		t.Escaped = flags&tagEscaped != 0
		tags = append(tags, t)
		at += size
		if flags&tagSameUUID == 0 {
			at += 16
		}
		if flags&tagLast != 0 {
			return tags, nil
		}
	}
	return tags, nil
}

// CheckData checks a logged block, as it lies in the log, against its tag.
func (s *Superblock) CheckData(seq Sequence, t Tag, p []byte) error {
	if !s.HasChecksums() {
		return nil
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(seq))
	sum := crc32c(crc32c(s.seed, b[:]), p)
	if s.Incompat&IncompatCsumV3 == 0 {
		sum &= 0xffff
	}
	if sum != t.checksum {
		return ondisk.Checksum(
			fmt.Sprintf("journal transaction %d, copy of block %d", seq, uint64(t.Home)),
			t.checksum,
			sum,
		)
	}
	return nil
}
