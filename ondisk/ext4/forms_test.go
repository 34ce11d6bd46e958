package ext4

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// TestChecksums_Vectors: both sums over "123456789", as catalogues of CRCs have them.
func TestChecksums_Vectors(t *testing.T) {
	check := []byte("123456789")
	if got := ^CRC32C(^uint32(0), check); got != 0xe3069283 {
		t.Errorf("CRC-32C is 0x%08x", got)
	}
	if got := crc16(0, check); got != 0xbb3d { // CRC-16/ARC
		t.Errorf("CRC-16 is 0x%04x", got)
	}
	if whole, parts := crc16(0xffff, check), crc16(crc16(0xffff, check[:4]), check[4:]); whole != parts {
		t.Errorf("CRC-16 in two parts is 0x%04x, in one 0x%04x", parts, whole)
	}
}

// TestGroupDesc_Sums: descriptors of mkfs have the sums of their forms, and one with any byte changed is rejected.
func TestGroupDesc_Sums(t *testing.T) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		t.Fatal("mke2fs is missing: install e2fsprogs")
	}
	for _, features := range []string{"uninit_bg,^metadata_csum,^64bit", "metadata_csum,^64bit", "metadata_csum,64bit"} {
		path := filepath.Join(t.TempDir(), "image")
		mkfs := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", features, path, "20M")
		if out, err := mkfs.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := DecodeSuperblock(image[SuperblockOffset:][:SuperblockSize])
		if err != nil {
			t.Fatal(err)
		}
		for g := range s.Groups() {
			at, off := s.DescBlock(g)
			p := image[int64(s.BlockSize.Offset(at))+int64(off):][:s.DescSize]
			if err := s.CheckGroupDesc(g, p); err != nil {
				t.Fatalf("%s: group %d: %v", features, g, err)
			}
			for i := range p {
				p[i] ^= 1
				if err := s.CheckGroupDesc(g, p); !errors.Is(err, ondisk.ErrCorrupt) {
					t.Errorf("%s: group %d with byte %d changed: %v", features, g, i, err)
				}
				p[i] ^= 1
			}
			if err := s.CheckGroupDesc(g+1, p); !errors.Is(err, ondisk.ErrCorrupt) {
				t.Errorf("%s: the descriptor of group %d for the next one's: %v", features, g, err)
			}
		}
	}
}

// TestJournalDevice_Forms: the superblock that is made for an external journal says so, for each size of blocks.
func TestJournalDevice_Forms(t *testing.T) {
	id := LogID{1, 2, 3, 15: 16}
	for size, start := range map[block.Size]block.Number{1024: 2, 2048: 1, 4096: 1} {
		p := NewJournalDevice(size, 2048, id)
		s, err := DecodeSuperblock(p)
		if err != nil {
			t.Fatal(err)
		}
		if !s.IsJournalDevice() || s.BlockSize != size || s.Blocks != 2048 || s.UUID != id {
			t.Errorf("blocks of %d: %+v", size, s)
		}
		PutLogID(p, LogID{9})
		if s, err = DecodeSuperblock(p); err != nil || s.UUID != (LogID{9}) {
			t.Errorf("another identity: %v, %v", s.UUID, err)
		}
		if got := JournalDeviceStart(size); got != start {
			t.Errorf("blocks of %d: the journal begins at block %d, expected %d", size, got, start)
		}
	}
}

// TestLogMark_Counts: a mark counts only as long as nothing else has used the file system.
func TestLogMark_Counts(t *testing.T) {
	le := binary.LittleEndian
	fresh := func() []byte {
		p := make([]byte, SuperblockSize)
		copy(p[0x68:], "the file system.")
		PutLogMark(p, LogID{7, 7})
		return p
	}
	decode := func(p []byte, s *Superblock) *Superblock { s.decodeLogMark(p); return s }
	if s := decode(fresh(), &Superblock{}); !s.NeedsLog || s.Log != (LogID{7, 7}) {
		t.Errorf("a mark: %+v", s)
	}
	for what, change := range map[string]func(p []byte){
		"cleared":            ClearLogMark,
		"the file system":    func(p []byte) { p[0x68]++ },
		"time of mount":      func(p []byte) { le.PutUint32(p[0x2c:], 5) },
		"its high part":      func(p []byte) { p[0x275] = 1 },
		"number of mounts":   func(p []byte) { p[0x34]++ },
		"time of check":      func(p []byte) { le.PutUint32(p[0x40:], 5) },
		"its own high part":  func(p []byte) { p[0x277] = 1 },
		"the log's identity": func(p []byte) { p[offLogMark+4]++ },
		"a path over it":     func(p []byte) { copy(p[offLogMark-32:], strings.Repeat("/mnt", 16)) },
	} {
		p := fresh()
		change(p)
		if decode(p, &Superblock{}).NeedsLog {
			t.Errorf("%s: the mark counts", what)
		}
	}
	if decode(fresh(), &Superblock{State: StateClean}).NeedsLog {
		t.Error("the mark of a clean file system counts")
	}
	if decode(fresh(), &Superblock{Compat: CompatHasJournal}).NeedsLog {
		t.Error("the mark of a file system with a journal counts")
	}
}

// TestErrors_Marks: the first damage stays, the last is replaced, and the count stops at its end.
func TestErrors_Marks(t *testing.T) {
	le := binary.LittleEndian
	p := make([]byte, SuperblockSize)
	s := &Superblock{}
	long := strings.Repeat("f", 40)
	s.PutErrors(p, 2, ErrorMark{100, "read"}, ErrorMark{1<<32 + 5, long})
	s.PutErrors(p, 3, ErrorMark{300, "other"}, ErrorMark{400, "write"})
	if n := le.Uint32(p[0x194:]); n != 5 {
		t.Errorf("%d errors", n)
	}
	if le.Uint32(p[0x198:]) != 100 || cString(p[0x1a8:0x1c8]) != "read" || p[0x27a] != codeCorrupted {
		t.Errorf("the first was at %d in %q, code %d", le.Uint32(p[0x198:]), p[0x1a8:0x1c8], p[0x27a])
	}
	if le.Uint32(p[0x1cc:]) != 400 || cString(p[0x1e0:0x200]) != "write" || p[0x279] != 0 {
		t.Errorf("the last was at %d in %q", le.Uint32(p[0x1cc:]), p[0x1e0:0x200])
	}
	if le.Uint16(p[0x3a:])&StateErrors == 0 {
		t.Error("the state does not say that e2fsck has to look")
	}
	le.PutUint32(p[0x194:], 1<<32-2)
	s.PutErrors(p, 3, ErrorMark{}, ErrorMark{1<<32 + 5, long})
	if n := le.Uint32(p[0x194:]); n != 1<<32-2 {
		t.Errorf("the count has wrapped: %d", n)
	}
	if p[0x279] != 1 || string(p[0x1e0:0x200]) != long[:32] || p[0x200] != 0 {
		t.Errorf("a late time and a long name: %d, %q, %d behind it", p[0x279], p[0x1e0:0x200], p[0x200])
	}
}

// TestHash_Versions: characters are signed or not by a flag of the superblock, and siphash and unknown versions have no
// hash without a key.
func TestHash_Versions(t *testing.T) {
	signed, unsigned := &Superblock{}, &Superblock{Flags: FlagUnsignedHash}
	for _, v := range []uint8{HashLegacy, HashHalfMD4, HashTea} {
		if signed.EffectiveHash(v) != v || unsigned.EffectiveHash(v) != v+3 {
			t.Errorf("version %d is %d and %d", v, signed.EffectiveHash(v), unsigned.EffectiveHash(v))
		}
		ascii, _, ok := signed.NameHash(v, []byte("plain"))
		same, _, _ := signed.NameHash(v+3, []byte("plain"))
		if !ok || ascii != same || ascii&1 != 0 {
			t.Errorf("version %d: 0x%x and 0x%x of an ASCII name", v, ascii, same)
		}
		high, _, _ := signed.NameHash(v, []byte("\xc3\xa4"))
		if other, _, _ := signed.NameHash(v+3, []byte("\xc3\xa4")); high == other {
			t.Errorf("version %d: 0x%x either way of a name with high bytes", v, high)
		}
	}
	if unsigned.EffectiveHash(HashSiphash) != HashSiphash {
		t.Error("siphash has no unsigned form")
	}
	for _, v := range []uint8{HashSiphash, 7, 255} {
		if _, _, ok := signed.NameHash(v, []byte("x")); ok {
			t.Errorf("version %d has a hash", v)
		}
	}
}

// TestEncode_Extents: what is encoded is what is decoded, at the limits of each field.
func TestEncode_Extents(t *testing.T) {
	for _, e := range []Extent{
		{File: 0, Len: 1, Start: 1},
		{File: 1<<32 - 2, Len: 1, Start: 1<<48 - 1},
		{File: 5, Len: MaxExtentLen(false), Start: 1 << 32},
		{File: 5, Len: MaxExtentLen(true), Start: 1<<32 - 1, Unwritten: true},
		{File: 5, Len: 1, Start: 7, Unwritten: true},
	} {
		p := make([]byte, 12)
		EncodeExtent(p, e)
		if got := DecodeExtent(p); got != e {
			t.Errorf("%+v becomes %+v", e, got)
		}
	}
	root := make([]byte, BlockBytes)
	EncodeExtentNode(root, 1, 4, 1)
	EncodeExtentIndex(root[12:], ExtentIndex{File: 9, Leaf: 1 << 33})
	node, err := DecodeExtentRoot(root)
	if err != nil || node.Entries() != 1 || node.Depth() != 1 || node.First(0) != 9 ||
		node.Index(0) != (ExtentIndex{File: 9, Leaf: 1 << 33}) {
		t.Errorf("%+v, %v", node, err)
	}
	for what, change := range map[string]func(p []byte){
		"magic":    func(p []byte) { p[0]++ },
		"entries":  func(p []byte) { p[2] = 5 },
		"capacity": func(p []byte) { p[4] = 200 },
		"depth":    func(p []byte) { p[6] = 6 },
	} {
		q := append([]byte(nil), root...)
		change(q)
		if _, err := DecodeExtentRoot(q); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("a root with another %s: %v", what, err)
		}
	}
}

// TestEncode_Devices: numbers below 256 have the short form, others the long one, as makedev of the kernel.
func TestEncode_Devices(t *testing.T) {
	for _, c := range []struct {
		major, minor uint32
		short, long  uint32
	}{
		{8, 1, 0x801, 0}, {255, 255, 0xffff, 0}, {256, 0, 0, 0x10000}, {8, 256, 0, 0x100800},
		{0xfff, 0xfffff, 0, 0xffffffff},
	} {
		p := make([]byte, BlockBytes)
		EncodeDevice(p, c.major, c.minor)
		le := binary.LittleEndian
		if le.Uint32(p) != c.short || le.Uint32(p[4:]) != c.long {
			t.Errorf("%d:%d is 0x%x, 0x%x", c.major, c.minor, le.Uint32(p), le.Uint32(p[4:]))
		}
		n := &Inode{Mode: ModeBlock, Block: p}
		if major, minor := n.Device(); major != c.major || minor != c.minor {
			t.Errorf("%d:%d is read as %d:%d", c.major, c.minor, major, minor)
		}
	}
}
