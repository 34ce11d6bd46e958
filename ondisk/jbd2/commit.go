package jbd2

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/varvefs/varve/ondisk"
)

// Commit ends a transaction (ext4 doc, Journal, "Commit Block").
type Commit struct {
	Time time.Time
	// ChecksumV1 is a CRC-32 over the transaction's descriptor and logged blocks, where HasV1 is set; see SumV1.
	ChecksumV1 uint32
	HasV1      bool
}

const (
	commitCRC32   = 1
	commitCRC32Sz = 4
)

// DecodeCommit decodes a commit block and, for checksum versions 2 and 3, checks it.
func (s *Superblock) DecodeCommit(seq Sequence, p []byte) (Commit, error) {
	be := binary.BigEndian
	c := Commit{Time: time.Unix(int64(be.Uint64(p[0x30:])), int64(be.Uint32(p[0x38:]))).UTC()}
	if s.Compat&CompatChecksum != 0 && !s.HasChecksums() {
		c.ChecksumV1 = be.Uint32(p[0x10:])
		c.HasV1 = p[0xc] == commitCRC32 && p[0xd] == commitCRC32Sz
	}
	if s.HasChecksums() {
		stored := be.Uint32(p[0x10:])
		sum := crc32c(s.seed, p[:0x10])
		sum = crc32c(sum, []byte{0, 0, 0, 0})
		if sum = crc32c(sum, p[0x14:]); sum != stored {
			return c, ondisk.Checksum(fmt.Sprintf("journal transaction %d, commit", seq), stored, sum)
		}
	}
	return c, nil
}

// crc32BE are the tables of the big-endian CRC-32, eight bytes at a time (Kounavis and Berry, "A Systematic Approach to
// Building High Performance Software-Based CRC Generators", ISCC 2005).
var crc32BE = func() (t [8][256]uint32) {
	for i := range t[0] {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
		t[0][i] = c
	}
	for k := 1; k < len(t); k++ {
		for i := range t[k] {
			c := t[k-1][i]
			t[k][i] = c<<8 ^ t[0][c>>24]
		}
	}
	return t
}()

// SumV1Seed is the start value of SumV1.
const SumV1Seed = ^uint32(0)

// SumV1 continues the big-endian CRC-32 of checksum version 1, which hash/crc32 does not have, over a block.
func SumV1(sum uint32, p []byte) uint32 {
	t := &crc32BE
	for ; len(p) >= 8; p = p[8:] {
		a, b := sum^binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
		sum = t[7][a>>24] ^ t[6][a>>16&0xff] ^ t[5][a>>8&0xff] ^ t[4][a&0xff] ^
			t[3][b>>24] ^ t[2][b>>16&0xff] ^ t[1][b>>8&0xff] ^ t[0][b&0xff]
	}
	for _, b := range p {
		sum = sum<<8 ^ t[0][byte(sum>>24)^b]
	}
	return sum
}
