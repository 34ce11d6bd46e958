package jbd2

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
)

// goldenLog reads the first 64 KiB of a journal that the kernel wrote (../ext4/testdata/make.sh).
func goldenLog(t testing.TB) (*Superblock, []byte) {
	t.Helper()
	f, err := os.Open("testdata/log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	s, err := DecodeSuperblock(p)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func blockOf(p []byte, n int) []byte { return bytes.Clone(p[n*1024 : (n+1)*1024]) }

func rejects(t *testing.T, what string, err error, says string) {
	t.Helper()
	if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: error is %v, expected one that says %q", what, err, says)
	}
}

func TestSuperblock_Golden(t *testing.T) {
	s, _ := goldenLog(t)
	if s.BlockSize != 1024 || s.Blocks != 1024 || s.First != 1 || s.Start != 1 || s.Sequence != 2 || s.Version != 2 ||
		!s.HasChecksums() ||
		!strings.Contains(s.FeatureNames(), "journal_checksum_v3") {
		t.Errorf("decoded %+v, %s", s, s.FeatureNames())
	}
}

func TestSuperblock_Rejects(t *testing.T) {
	_, p := goldenLog(t)
	be := binary.BigEndian
	for _, c := range []struct {
		what   string
		change func([]byte)
		says   string
	}{
		{"magic", func(p []byte) { p[0] = 0 }, "magic"},
		{"block type", func(p []byte) { p[7] = 9 }, "block type"},
		{"checksum", func(p []byte) { p[0x18] ^= 1 }, "checksum"},
		{"checksum type", func(p []byte) { p[0x50] = 1 }, "checksum type"},
		{"two checksum features", func(p []byte) { p[0x2b] |= 0x8 }, "more than one"},
	} {
		q := bytes.Clone(p)
		c.change(q)
		_, err := DecodeSuperblock(q)
		rejects(t, c.what, err, c.says)
	}
	bare := func(change func([]byte)) error { // without checksums
		q := bytes.Clone(p)
		be.PutUint32(q[0x28:], Incompat64Bit)
		change(q)
		_, err := DecodeSuperblock(q)
		return err
	}
	rejects(t, "block size", bare(func(p []byte) { be.PutUint32(p[0xc:], 1000) }), "block size")
	rejects(t, "few blocks", bare(func(p []byte) { be.PutUint32(p[0x10:], 3) }), "3 blocks")
	rejects(t, "first", bare(func(p []byte) { be.PutUint32(p[0x14:], 0) }), "begins at")
	rejects(t, "start", bare(func(p []byte) { be.PutUint32(p[0x1c:], 5000) }), "oldest")
	rejects(
		t,
		"fast commits",
		bare(func(p []byte) { p[0x2b] |= IncompatFastCommit; be.PutUint32(p[0x54:], 1<<30) }),
		"fast commits",
	)
	if err := bare(func(p []byte) { p[0x28] = 0x80 }); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("unknown feature: %v", err)
	}
}

func TestTransaction_GoldenAndRejects(t *testing.T) {
	s, p := goldenLog(t)
	desc := blockOf(p, 1)
	h, ok := DecodeHeader(desc)
	if !ok || h.Type != TypeDescriptor || h.Sequence != 2 {
		t.Fatalf("%+v", h)
	}
	tags, err := s.DecodeDescriptor(2, desc)
	if err != nil || len(tags) != 10 {
		t.Fatalf("%d tags, %v", len(tags), err)
	}
	for i, tag := range tags {
		if err := s.CheckData(2, tag, blockOf(p, 2+i)); err != nil {
			t.Error(err)
		}
	}
	rejects(t, "copy", s.CheckData(2, tags[0], blockOf(p, 3)), "checksum")
	rejects(t, "copy of another transaction", s.CheckData(3, tags[0], blockOf(p, 2)), "checksum")
	commit := blockOf(p, 12)
	if c, err := s.DecodeCommit(2, commit); err != nil || c.Time.Year() < 2026 {
		t.Errorf("%+v, %v", c, err)
	}
	commit[0x38] ^= 1
	_, err = s.DecodeCommit(2, commit)
	rejects(t, "commit", err, "checksum")
	desc[30] ^= 1
	_, err = s.DecodeDescriptor(2, desc)
	rejects(t, "descriptor", err, "checksum")
}

func TestRevoke_Synthetic(t *testing.T) {
	s, _ := goldenLog(t)
	p := make([]byte, 1024)
	be := binary.BigEndian
	be.PutUint32(p, Magic)
	be.PutUint32(p[4:], TypeRevoke)
	be.PutUint32(p[12:], 16+2*8)
	be.PutUint64(p[16:], 77)
	be.PutUint64(p[24:], 1<<40)
	seal := func() { // the checksum is taken with zeros in its place
		be.PutUint32(p[1020:], 0)
		be.PutUint32(p[1020:], crc32c(s.seed, p))
	}
	seal()
	homes, err := s.DecodeRevoke(5, p)
	if err != nil || len(homes) != 2 || homes[0] != 77 || homes[1] != 1<<40 {
		t.Errorf("%v, %v", homes, err)
	}
	p[20] ^= 1
	_, err = s.DecodeRevoke(5, p)
	rejects(t, "checksum", err, "checksum")
	be.PutUint32(p[12:], 5000)
	seal()
	_, err = s.DecodeRevoke(5, p)
	rejects(t, "length", err, "5000 bytes")
}

func TestSumV1_KnownAnswer(t *testing.T) {
	// CRC-32/MPEG-2, which this is, has a published check value for the digits 1 to 9.
	if sum := SumV1(SumV1Seed, []byte("123456789")); sum != 0x0376e6e7 {
		t.Errorf("0x%08x", sum)
	}
}

func TestSequence_Wraps(t *testing.T) {
	if !Sequence(0xffffffff).Before(2) || Sequence(2).Before(0xffffffff) || Sequence(3).Before(3) {
		t.Error("the order of sequences does not survive their wrapping")
	}
}

// fast makes a record of the fast-commit area.
func fast(tag uint16, value []byte) []byte {
	p := binary.LittleEndian.AppendUint16(nil, tag)
	p = binary.LittleEndian.AppendUint16(p, uint16(len(value)))
	return append(p, value...)
}

// fastCommit makes a fast commit of one record, with its tail.
func fastCommit(head []byte, tid uint32, record []byte) []byte {
	p := append(bytes.Clone(head), record...)
	tail := fast(FastTail, binary.LittleEndian.AppendUint32(nil, tid))
	binary.LittleEndian.PutUint16(tail[2:], 8)
	p = append(p, tail...)
	return binary.LittleEndian.AppendUint32(p, crc32c(0, p))
}

func TestFastScanner_WholeCommitsOnly(t *testing.T) {
	head := fast(FastHead, []byte{0, 0, 0, 0, 9, 0, 0, 0})
	link := fast(FastLink, []byte("parentinname"))
	good := append(fastCommit(head, 9, link), fastCommit(nil, 9, link)...)
	for _, c := range []struct {
		what string
		p    []byte
		want int
	}{
		{"two commits", good, 2},
		{"the second cut off", good[:len(good)-9], 1},
		{"a wrong checksum", append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1), 1},
		{"another transaction", fastCommit(fast(FastHead, []byte{0, 0, 0, 0, 8, 0, 0, 0}), 8, link), 0},
		{"no head", fastCommit(nil, 9, link), 0},
		{"a record that crosses the end", append(bytes.Clone(good), 4, 0, 255, 0), 2},
		{"an unknown record", append(bytes.Clone(good), fast(99, nil)...), 2},
		{"nothing", make([]byte, 64), 0},
	} {
		s := FastScanner{Want: 9}
		s.Add(c.p)
		if got := len(s.Records()); got != c.want {
			t.Errorf("%s: %d records, expected %d", c.what, got, c.want)
		}
	}
}
