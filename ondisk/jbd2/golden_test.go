package jbd2

import (
	"bytes"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// TestEncode_Golden decodes the blocks of a journal that the kernel wrote, and encodes them again: the bytes are the
// kernel's.
func TestEncode_Golden(t *testing.T) {
	s, p := goldenLog(t)
	same := func(what string, at int, got, want []byte) {
		t.Helper()
		for i := range want {
			if got[i] != want[i] {
				t.Errorf(
					"%s in block %d: byte 0x%x differs: %x, the kernel has %x",
					what,
					at,
					i,
					got[i:min(i+8, len(got))],
					want[i:min(i+8, len(want))],
				)
				return
			}
		}
	}
	counts := map[uint32]int{}
	out := make([]byte, 1024)
	for at := 1; at < len(p)/1024; at++ {
		raw := blockOf(p, at)
		h, ok := DecodeHeader(raw)
		if !ok {
			continue
		}
		counts[h.Type]++
		switch h.Type {
		case TypeDescriptor:
			tags, err := s.DecodeDescriptor(h.Sequence, raw)
			if err != nil {
				t.Fatal(err)
			}
			var homes []block.Number
			var escaped []bool
			var data [][]byte
			for i, tag := range tags {
				homes, escaped, data = append(
					homes,
					tag.Home,
				), append(
					escaped,
					tag.Escaped,
				), append(
					data,
					blockOf(p, at+1+i),
				)
			}
			anonymous := *s // the kernel leaves the UUID in a descriptor 0, and nothing reads it
			anonymous.UUID = [16]byte{}
			anonymous.EncodeDescriptor(out, h.Sequence, homes, escaped, data)
			same("descriptor", at, out, raw)
			at += len(tags)
		case TypeRevoke:
			homes, err := s.DecodeRevoke(h.Sequence, raw)
			if err != nil {
				t.Fatal(err)
			}
			s.EncodeRevoke(out, h.Sequence, homes)
			same("revoke block", at, out, raw)
		case TypeCommit:
			c, err := s.DecodeCommit(h.Sequence, raw)
			if err != nil {
				t.Fatal(err)
			}
			s.EncodeCommit(out, h.Sequence, c.Time, 0)
			same("commit", at, out, raw)
		}
	}
	if counts[TypeDescriptor] == 0 || counts[TypeCommit] == 0 {
		t.Errorf("blocks by type: %v", counts)
	}
}

// TestSuperblock_Edits: what varve changes in a journal's superblock, from one that the kernel wrote; the rest stays.
func TestSuperblock_Edits(t *testing.T) {
	s, p := goldenLog(t)
	raw := p[:1024]
	q := bytes.Clone(raw)
	start, sequence := s.Start, s.Sequence
	s.PutStart(q, 99, 77)
	n, err := DecodeSuperblock(q)
	if err != nil || n.Start != 99 || n.Sequence != 77 {
		t.Errorf("begins at %d with %d: %v", n.Start, n.Sequence, err)
	}
	s.PutErrno(q, -5)
	if n, err = DecodeSuperblock(q); err != nil || n.Errno != -5 {
		t.Errorf("error %d: %v", n.Errno, err)
	}
	s.PutErrno(q, 0)
	s.PutStart(q, start, sequence)
	for i := range raw {
		if q[i] != raw[i] {
			t.Fatalf("after all changes are taken back byte 0x%x is 0x%x, the kernel has 0x%x", i, q[i], raw[i])
		}
	}
	made := NewSuperblock(1024, 1024, s.UUID, s.Incompat)
	if n, err = DecodeSuperblock(made); err != nil || n.Blocks != s.Blocks || n.First != s.First || n.Start != 0 ||
		n.UUID != s.UUID {
		t.Errorf("a new one is %+v: %v", n, err)
	}
}

// TestRevoke_Rejects: lengths and types that a revoke block must not have.
func TestRevoke_Rejects(t *testing.T) {
	s := &Superblock{BlockSize: 1024, Incompat: IncompatRevoke}
	p := make([]byte, 1024)
	s.EncodeRevoke(p, 5, []block.Number{1, 2})
	if got, err := s.DecodeRevoke(5, p); err != nil || len(got) != 2 || got[1] != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, count := range []byte{0, 15, 17, 0xff} {
		q := bytes.Clone(p)
		q[15] = count
		if count == 0xff {
			q[14] = 0xff
		}
		if got, err := s.DecodeRevoke(5, q); err == nil && count != 17 {
			t.Errorf("%d bytes are %v", count, got)
		}
	}
}
