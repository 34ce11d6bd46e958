package jbd2

import (
	"bytes"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// TestEncode_DecodesAgain writes each kind of block in each form that a journal may have, and has the decoder, whose
// oracle are the kernel's own journals, check it. A changed byte is refused where there are checksums.
func TestEncode_DecodesAgain(t *testing.T) {
	for _, incompat := range []uint32{IncompatRevoke, IncompatRevoke | Incompat64Bit, IncompatRevoke | IncompatCsumV2,
		IncompatRevoke | IncompatCsumV3, IncompatRevoke | IncompatCsumV3 | Incompat64Bit} {
		s := &Superblock{BlockSize: 1024, Incompat: incompat, UUID: [16]byte{1, 2, 3}}
		s.seed = crc32c(^uint32(0), s.UUID[:])
		n := s.TagsPerBlock()
		homes, escaped, data := make([]block.Number, n), make([]bool, n), make([][]byte, n)
		for i := range n {
			homes[i], data[i] = block.Number(1000+7*i), bytes.Repeat([]byte{byte(i)}, 1024)
			if i%3 == 0 {
				Unescape(data[i])
				escaped[i] = Escape(data[i])
			}
		}
		p := make([]byte, 1024)
		s.EncodeDescriptor(p, 42, homes, escaped, data)
		tags, err := s.DecodeDescriptor(42, p)
		if err != nil || len(tags) != n {
			t.Fatalf("features 0x%x: %d tags of %d, %v", incompat, len(tags), n, err)
		}
		for i, tag := range tags {
			if tag.Home != homes[i] || tag.Escaped != escaped[i] || s.CheckData(42, tag, data[i]) != nil {
				t.Fatalf("features 0x%x: tag %d is %+v", incompat, i, tag)
			}
		}
		if s.HasChecksums() && s.CheckData(42, tags[1], data[0]) == nil {
			t.Fatalf("features 0x%x: another block's data passes", incompat)
		}
		r := homes[:min(len(homes), s.RevokesPerBlock())]
		s.EncodeRevoke(p, 43, r)
		if got, err := s.DecodeRevoke(43, p); err != nil || len(got) != len(r) || got[len(r)-1] != r[len(r)-1] {
			t.Fatalf("features 0x%x: revoked %v, %v", incompat, got, err)
		}
		now := time.Unix(1<<33, 5)
		s.EncodeCommit(p, 44, now, 7)
		if c, err := s.DecodeCommit(44, p); err != nil || !c.Time.Equal(now) {
			t.Fatalf("features 0x%x: commit at %v, %v", incompat, c.Time, err)
		}
		p[100] ^= 1
		if _, err := s.DecodeCommit(44, p); (err == nil) == s.HasChecksums() {
			t.Fatalf("features 0x%x: a changed commit block: %v", incompat, err)
		}
	}
}

// TestSumV1 has the checksums of jbd2 version 1 that a byte at a time gives, and the check value of CRC-32/MPEG-2.
func TestSumV1(t *testing.T) {
	if sum := SumV1(SumV1Seed, []byte("123456789")); sum != 0x0376e6e7 {
		t.Errorf("check value 0x%08x", sum)
	}
	p := make([]byte, 100)
	for i := range p {
		p[i] = byte(i * 37)
	}
	slow := SumV1Seed
	for i := range p {
		slow = SumV1(slow, p[i:i+1])
	}
	if fast := SumV1(SumV1Seed, p); fast != slow {
		t.Errorf("0x%08x at once, 0x%08x by bytes", fast, slow)
	}
}
