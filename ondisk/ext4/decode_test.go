package ext4

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// image reads a golden image, made by real mkfs and filled by the kernel (testdata/make.sh).
func image(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".img.gz")
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
	return p
}

// golden is an image whose structures are at hand.
type golden struct {
	t     testing.TB
	p     []byte
	super *Superblock
}

func newGolden(t testing.TB, name string) golden {
	t.Helper()
	p := image(t, name)
	s, err := DecodeSuperblock(p[SuperblockOffset:])
	if err != nil {
		t.Fatal(err)
	}
	return golden{t, p, s}
}

func (g golden) block(n block.Number) []byte {
	at := g.super.BlockSize.Offset(n)
	return bytes.Clone(g.p[at : at+int64(g.super.BlockSize)])
}

func (g golden) desc() []byte {
	n, offset := g.super.DescBlock(0)
	return g.block(n)[offset:]
}

// slot is the raw inode.
func (g golden) slot(ino Ino) []byte {
	g.t.Helper()
	d, err := g.super.DecodeGroupDesc(0, g.desc())
	if err != nil {
		g.t.Fatal(err)
	}
	_, nth, offset := g.super.InodeBlock(ino)
	return g.block(d.InodeTable + nth)[offset : offset+int(g.super.InodeSize)]
}

func (g golden) inode(ino Ino) Inode {
	g.t.Helper()
	var n Inode
	if err := g.super.DecodeInode(&n, ino, g.slot(ino)); err != nil {
		g.t.Fatal(err)
	}
	return n
}

// find returns the inode with a name in the root directory.
func (g golden) find(name string) Ino {
	g.t.Helper()
	root := g.inode(RootIno)
	node, err := DecodeExtentRoot(root.Block)
	if err != nil {
		g.t.Fatal(err)
	}
	p := g.block(node.Extent(0).Start)
	for at := 0; at < len(p); {
		e, err := g.super.DirentFormat(root.Flags).Decode(p, at)
		if err != nil {
			g.t.Fatal(err)
		}
		if string(e.Name) == name {
			return e.Ino
		}
		at += e.RecLen
	}
	g.t.Fatalf("no entry %s", name)
	return 0
}

// rejects checks that an error is of the family corrupt and says what it should.
func rejects(t *testing.T, what string, err error, says string) {
	t.Helper()
	if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: error is %v, expected one that says %q", what, err, says)
	}
}

func TestSuperblock_Golden(t *testing.T) {
	s := newGolden(t, "csum").super
	if s.Label != "golden" || FormatUUID(s.UUID) != "11111111-2222-3333-4444-555555555555" || s.Blocks != 1024 ||
		s.BlockSize != 1024 ||
		s.Inodes != 64 || s.InodeSize != 256 || s.DescSize != 64 || s.FirstDataBlock != 1 || s.Groups() != 1 ||
		s.Kind() != "ext4" ||
		s.HashVersion != HashHalfMD4 ||
		s.HashSeed[0] != 0xaaaaaaaa ||
		s.State != StateClean {
		t.Errorf("decoded %+v", s)
	}
	if names := s.ROCompat.String(); !strings.Contains(names, "metadata_csum") {
		t.Errorf("features %s", names)
	}
}

func TestSuperblock_Rejects(t *testing.T) {
	p := image(t, "plain")[SuperblockOffset:][:SuperblockSize]
	put16 := func(at int, v uint16) func([]byte) {
		return func(p []byte) { binary.LittleEndian.PutUint16(p[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(p []byte) { binary.LittleEndian.PutUint32(p[at:], v) }
	}
	for _, c := range []struct {
		what   string
		change func([]byte)
		says   string
	}{
		{"magic", put16(0x38, 0), "magic"},
		{"block size", put32(0x18, 7), "block size"},
		{"huge block size", put32(0x18, 1<<31), "block size"},
		{"inode size of 0", put16(0x58, 0), "inode size"},
		{"odd inode size", put16(0x58, 200), "inode size"},
		{"inode size over a block", put16(0x58, 2048), "inode size"},
		{"inodes a group of 0", put32(0x28, 0), "inodes a group"},
		{"too many inodes a group", put32(0x28, 1<<20), "inodes a group"},
		{"blocks a group of 0", put32(0x20, 0), "clusters a group"},
		{"too many blocks a group", put32(0x20, 1<<20), "clusters a group"},
		{"no blocks", put32(0x4, 0), "blocks"},
		{"first data block", put32(0x14, 5000), "first data block"},
		{"inode count", put32(0x0, 1<<30), "inodes"},
		{"few inodes", put32(0x0, 3), "inodes"},
		{"first inode", put32(0x54, 2), "first ordinary inode"},
		{"clusters", func(p []byte) { p[0x65] |= 0x02; put32(0x1c, 30)(p) }, "cluster size"},
		{"descriptor size", func(p []byte) { p[0x60] |= 0x80; put16(0xfe, 48)(p) }, "group descriptors"},
		{"short descriptors with 64bit", func(p []byte) { p[0x60] |= 0x80; put16(0xfe, 32)(p) }, "64bit"},
	} {
		q := bytes.Clone(p)
		c.change(q)
		_, err := DecodeSuperblock(q)
		rejects(t, c.what, err, c.says)
	}
	_, err := DecodeSuperblock(p[:100])
	rejects(t, "short", err, "100 bytes")
	sealed := image(t, "csum")[SuperblockOffset:][:SuperblockSize]
	sealed[0x78] ^= 1
	_, err = DecodeSuperblock(sealed)
	rejects(t, "checksum", err, "checksum")
	sealed[0x175] = 9
	_, err = DecodeSuperblock(sealed)
	rejects(t, "checksum type", err, "checksum type")
	unknown := bytes.Clone(p)
	unknown[0x61] |= 0x08
	s, err := DecodeSuperblock(unknown)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckReadable(); !errors.Is(err, ondisk.ErrUnsupported) ||
		!strings.Contains(err.Error(), "FEATURE_I11") {
		t.Errorf("unknown feature: %v", err)
	}
}

func TestGroupDesc_GoldenAndRejects(t *testing.T) {
	for _, name := range []string{"csum", "plain"} {
		g := newGolden(t, name)
		d, err := g.super.DecodeGroupDesc(0, g.desc())
		if err != nil || d.BlockBitmap != 3 || d.InodeBitmap != 19 || d.InodeTable != 35 || d.UsedDirs != 3 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		if err := g.super.CheckGroupDesc(0, g.desc()); err != nil {
			t.Error(err)
		}
		p := g.desc()
		binary.LittleEndian.PutUint32(p[8:], 1<<20)
		_, err = g.super.DecodeGroupDesc(0, p)
		rejects(t, name+": table past the end", err, "inode table")
		_, err = g.super.DecodeGroupDesc(0, p[:16])
		rejects(t, name+": short", err, "16 bytes")
	}
	g := newGolden(t, "csum")
	p := g.desc()
	p[0xc] ^= 1
	rejects(t, "checksum", g.super.CheckGroupDesc(0, p), "checksum")
}

func TestInode_GoldenAndRejects(t *testing.T) {
	g := newGolden(t, "csum")
	ino := g.find("extents")
	n := g.inode(ino)
	want := time.Date(2040, 1, 2, 3, 4, 5, 123456789, time.UTC)
	if n.Mode != 0o100664 || n.Size != 22529 || n.Links != 1 || !n.Mtime.Equal(want) || !n.Has(InodeExtents) ||
		n.Crtime.IsZero() ||
		n.Blocks != 26 {
		t.Errorf("decoded %+v", n)
	}
	if link := g.inode(g.find("link")); !g.super.FastSymlink(&link) || string(link.Block[:link.Size]) != "target" {
		t.Errorf("symlink %+v", link)
	}
	p := g.slot(ino)
	p[0x28] ^= 1
	rejects(t, "checksum", g.super.DecodeInode(&n, ino, p), "checksum")
	rejects(t, "number", g.super.DecodeInode(&n, ino+1, g.slot(ino)), "checksum")
	rejects(t, "short", g.super.DecodeInode(&n, ino, p[:100]), "100 bytes")
	plain := newGolden(t, "plain")
	p = plain.slot(plain.find("extents"))
	binary.LittleEndian.PutUint16(p[0x80:], 200)
	rejects(t, "extra size", plain.super.DecodeInode(&n, 14, p), "extra size")
	p = plain.slot(plain.find("extents"))
	binary.LittleEndian.PutUint32(p[0x6c:], 1<<31)
	rejects(t, "size", plain.super.DecodeInode(&n, 14, p), "size is")
}

func TestInode_Devices(t *testing.T) {
	n := Inode{Mode: ModeBlock, Block: make([]byte, 60)}
	binary.LittleEndian.PutUint32(n.Block, 0x0103)
	if major, minor := n.Device(); major != 1 || minor != 3 {
		t.Errorf("old form: %d:%d", major, minor)
	}
	binary.LittleEndian.PutUint32(n.Block, 0)
	binary.LittleEndian.PutUint32(n.Block[4:], 70000&0xff|259<<8|(70000&^0xff)<<12)
	if major, minor := n.Device(); major != 259 || minor != 70000 {
		t.Errorf("new form: %d:%d", major, minor)
	}
}

func TestExtent_GoldenAndRejects(t *testing.T) {
	g := newGolden(t, "csum")
	ino := g.find("extents")
	n := g.inode(ino)
	root, err := DecodeExtentRoot(n.Block)
	if err != nil || root.Depth() != 1 || root.Entries() != 1 {
		t.Fatalf("root %+v, %v", root, err)
	}
	leaf := root.Index(0).Leaf
	seed := g.super.Seed().Inode(ino, n.Generation)
	node, err := g.super.DecodeExtentBlock(seed, 0, g.block(leaf))
	if err != nil || node.Entries() != 12 {
		t.Fatalf("leaf %+v, %v", node, err)
	}
	if i := node.Search(5); i != 2 || node.Extent(i).File != 4 || node.Extent(i).Len != 1 || node.Extent(i).Start == 0 {
		t.Errorf("file block 5 is found at %d: %+v", i, node.Extent(i))
	}
	if i := EmptyExtentRoot(); len(i) != 60 {
		t.Errorf("an empty root of %d bytes", len(i))
	}
	le := binary.LittleEndian
	for _, c := range []struct {
		what   string
		change func([]byte)
		says   string
	}{
		{"magic", func(p []byte) { p[0] = 0 }, "magic"},
		{"too many entries", func(p []byte) { le.PutUint16(p[2:], 500) }, "entries"},
		{"too much room", func(p []byte) { le.PutUint16(p[4:], 5000) }, "room"},
		{"no room", func(p []byte) { le.PutUint16(p[4:], 0) }, "room"},
		{"depth", func(p []byte) { le.PutUint16(p[6:], 1) }, "depth"},
		{"great depth", func(p []byte) { le.PutUint16(p[6:], 9) }, "depth"},
		{"checksum", func(p []byte) { p[20] ^= 1 }, "checksum"},
	} {
		p := g.block(leaf)
		c.change(p)
		_, err := g.super.DecodeExtentBlock(seed, 0, p)
		rejects(t, c.what, err, c.says)
	}
	p := bytes.Clone(n.Block)
	le.PutUint16(p[2:], 0)
	_, err = DecodeExtentRoot(p)
	rejects(t, "index without entries", err, "without entries")
	for what, e := range map[string]Extent{"empty": {Start: 50}, "past the end": {Start: 1020, Len: 9},
		"before the start": {Len: 1},
		"wraps":            {File: 1<<32 - 1, Len: 2, Start: 50}} {
		if err := g.super.CheckExtent(e); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if e := DecodeExtent([]byte{0, 0, 0, 0, 5, 0x80, 0, 0, 9, 0, 0, 0}); !e.Unwritten || e.Len != 5 || e.Start != 9 {
		t.Errorf("unwritten extent %+v", e)
	}
}

func TestDirent_Rejects(t *testing.T) {
	f := DirentFormat{Filetype: true, Inodes: 64}
	entry := func(ino uint32, rec uint16, nameLen, typ byte, name string) []byte {
		p := make([]byte, 64)
		binary.LittleEndian.PutUint32(p, ino)
		binary.LittleEndian.PutUint16(p[4:], rec)
		p[6], p[7] = nameLen, typ
		copy(p[8:], name)
		return p
	}
	if e, err := f.Decode(entry(12, 64, 4, FileTypeRegular, "name"), 0); err != nil || string(e.Name) != "name" ||
		e.Ino != 12 {
		t.Errorf("a good entry: %+v, %v", e, err)
	}
	for _, c := range []struct {
		what string
		p    []byte
		at   int
		says string
	}{
		{"record of 0", entry(12, 0, 4, 1, "name"), 0, "record length"},
		{"record of 8", entry(12, 8, 0, 1, ""), 0, "record length"},
		{"odd record", entry(12, 13, 4, 1, "name"), 0, "record length"},
		{"record past the end", entry(12, 68, 4, 1, "name"), 0, "crosses the end"},
		{"name past its record", entry(12, 12, 5, 1, "names"), 0, "name of"},
		{"inode past the end", entry(65, 64, 4, 1, "name"), 0, "inode 65"},
		{"no room", entry(12, 64, 4, 1, "name"), 60, "does not fit"},
		{"negative", entry(12, 64, 4, 1, "name"), -4, "does not fit"},
	} {
		_, err := f.Decode(c.p, c.at)
		rejects(t, c.what, err, c.says)
	}
	hashed := DirentFormat{Filetype: true, Hashed: true, Inodes: 64}
	_, err := hashed.Decode(entry(12, 16, 8, 1, "namename"), 0)
	rejects(t, "no room for the hash", err, "name of 8")
	p := entry(12, 64, 4, 1, "name")
	binary.LittleEndian.PutUint32(p[12:], 0xabcd)
	if e, err := hashed.Decode(p, 0); err != nil || e.Hash != 0xabcd {
		t.Errorf("hash 0x%x, %v", e.Hash, err)
	}
	if n := decodeRecLen(0, 1<<16); n != 1<<16 {
		t.Errorf("a record of 64 KiB has %d bytes", n)
	}
}

func TestHtree_GoldenAndRejects(t *testing.T) {
	g := newGolden(t, "csum")
	ino := g.find("indexed")
	n := g.inode(ino)
	extents, err := DecodeExtentRoot(n.Block)
	if err != nil {
		t.Fatal(err)
	}
	seed := g.super.Seed().Inode(ino, n.Generation)
	first := extents.Extent(0).Start
	root, err := g.super.DecodeHtreeRoot(seed, g.block(first))
	if err != nil || root.Levels != 0 || root.HashVersion != HashHalfMD4 || root.Count() != 4 {
		t.Fatalf("root %+v, %v", root, err)
	}
	leaf := g.block(extents.Extent(1).Start)
	if err := g.super.CheckDirBlock(seed, leaf); err != nil {
		t.Error(err)
	}
	leaf[8] ^= 1
	rejects(t, "leaf", g.super.CheckDirBlock(seed, leaf), "checksum")
	leaf[len(leaf)-5] = 0
	rejects(t, "leaf without a tail", g.super.CheckDirBlock(seed, leaf), "no room")
	for _, c := range []struct {
		what   string
		change func([]byte)
		says   string
	}{
		{"information length", func(p []byte) { p[0x1d] = 9 }, "information"},
		{"limit", func(p []byte) { p[0x20]++ }, "room"},
		{"no entries", func(p []byte) { p[0x22], p[0x23] = 0, 0 }, "0 entries"},
		{"too many entries", func(p []byte) { p[0x23] = 9 }, "entries"},
		{"checksum", func(p []byte) { p[0x30] ^= 1 }, "checksum"},
	} {
		p := g.block(first)
		c.change(p)
		_, err := g.super.DecodeHtreeRoot(seed, p)
		rejects(t, c.what, err, c.says)
	}
	plain := newGolden(t, "plain")
	n = plain.inode(plain.find("indexed"))
	if extents, err = DecodeExtentRoot(n.Block); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func([]byte){"levels": func(p []byte) { p[0x1e] = 2 },
		"hash version": func(p []byte) { p[0x1c] = 4 }} {
		p := plain.block(extents.Extent(0).Start)
		change(p)
		_, err := plain.super.DecodeHtreeRoot(0, p)
		rejects(t, what, err, strings.Fields(what)[0])
	}
}

func TestXattr_GoldenAndRejects(t *testing.T) {
	g := newGolden(t, "csum")
	n := g.inode(g.find("file"))
	attrs, err := g.super.DecodeXattrBlock(n.FileACL, g.block(n.FileACL))
	if err != nil || len(attrs) != 1 {
		t.Fatalf("%+v, %v", attrs, err)
	}
	if name, ok := attrs[0].FullName(); !ok || name != "user.big" ||
		string(attrs[0].Value) != strings.Repeat("v", 500) {
		t.Errorf("attribute %s = %q", name, attrs[0].Value)
	}
	in := g.inode(g.find("extents"))
	attrs, err = DecodeInodeXattrs(14, in.XattrArea)
	if err != nil || len(attrs) != 2 {
		t.Fatalf("%+v, %v", attrs, err)
	}
	for _, a := range attrs {
		if name, _ := a.FullName(); name == "system.posix_acl_access" {
			acl, err := ACLToXattr(a.Value)
			if err != nil || len(acl) != 4+5*8 {
				t.Errorf("ACL %x, %v", acl, err)
			}
			_, err = ACLToXattr(a.Value[:len(a.Value)-1])
			rejects(t, "cut ACL", err, "entry of")
			_, err = ACLToXattr([]byte{2, 0, 0, 0})
			rejects(t, "ACL version", err, "version")
		}
	}
	plain := newGolden(t, "plain")
	file := plain.inode(plain.find("file"))
	le := binary.LittleEndian
	for _, c := range []struct {
		what   string
		change func([]byte)
		says   string
	}{
		{"magic", func(p []byte) { p[0] ^= 1 }, "magic"},
		{"blocks", func(p []byte) { p[8] = 2 }, "spans"},
		{"value past the end", func(p []byte) { le.PutUint16(p[0x22:], 1000) }, "past the end"},
		{"value in the entries", func(p []byte) { le.PutUint16(p[0x22:], 0x20) }, "overlaps"},
		{"huge value", func(p []byte) { le.PutUint32(p[0x28:], 1<<30) }, "bytes long"},
		{"no end", func(p []byte) {
			for i := 0x20; i < len(p); i++ {
				p[i] = 1
			}
		}, ""},
	} {
		p := plain.block(file.FileACL)
		c.change(p)
		_, err := plain.super.DecodeXattrBlock(file.FileACL, p)
		rejects(t, c.what, err, c.says)
	}
	p := g.block(n.FileACL)
	p[900] ^= 1
	_, err = g.super.DecodeXattrBlock(n.FileACL, p)
	rejects(t, "checksum", err, "checksum")
	_, err = g.super.DecodeXattrBlock(n.FileACL+1, g.block(n.FileACL))
	rejects(t, "place", err, "checksum")
}

func TestMMPAndOrphan_Reject(t *testing.T) {
	s := newGolden(t, "csum").super
	p := make([]byte, 1024)
	binary.LittleEndian.PutUint32(p, mmpMagic)
	binary.LittleEndian.PutUint32(p[4:], MMPClean)
	_, err := s.DecodeMMP(p)
	rejects(t, "mmp checksum", err, "checksum")
	binary.LittleEndian.PutUint32(p[0x3fc:], CRC32C(uint32(s.Seed()), p[:0x3fc]))
	if m, err := s.DecodeMMP(p); err != nil || m.InUse() {
		t.Errorf("mmp: %+v, %v", m, err)
	}
	p[0] = 0
	_, err = s.DecodeMMP(p)
	rejects(t, "mmp magic", err, "magic")
	_, err = s.DecodeMMP(p[:8])
	rejects(t, "short mmp", err, "8 bytes")

	_, err = s.DecodeOrphanBlock(12, 7, 99, p)
	rejects(t, "orphan magic", err, "magic")
	binary.LittleEndian.PutUint32(p[1016:], orphanBlockMagic)
	_, err = s.DecodeOrphanBlock(12, 7, 99, p)
	rejects(t, "orphan checksum", err, "checksum")
	_, err = s.DecodeOrphanBlock(12, 7, 99, p[:8])
	rejects(t, "short orphan block", err, "8 bytes")
}

func TestNoKeyName_Lengths(t *testing.T) {
	for n, want := range map[int]int{16: 32, 149: 210, 150: 252, 255: 252} {
		if got := NoKeyName(1, 2, make([]byte, n)); len(got) != want || strings.ContainsAny(got, "/=+") {
			t.Errorf("a name of %d bytes becomes %q of %d, expected %d", n, got, len(got), want)
		}
	}
}

// TestSealSuperblock_KeepsSecondSector changes a real superblock and seals it: its second sector stays as it was, and
// it decodes.
func TestSealSuperblock_KeepsSecondSector(t *testing.T) {
	p := image(t, "csum")[SuperblockOffset:][:SuperblockSize]
	s, err := DecodeSuperblock(p)
	if err != nil {
		t.Fatal(err)
	}
	if !s.HasMetadataCsum() {
		t.Fatal("the superblock has no checksum")
	}
	for i := range 200 {
		q := append([]byte(nil), p...)
		s.PutSuperCounts(q, uint64(i)*7919, uint32(i)*31, Ino(i))
		s.PutRecovery(q, i%2 == 0, i%3 == 0)
		if _, err := DecodeSuperblock(q); err == nil {
			t.Fatal("an unsealed superblock passes")
		}
		s.SealSuperblock(q)
		if !bytes.Equal(q[512:], p[512:]) {
			t.Fatal("the second sector changed")
		}
		if _, err := DecodeSuperblock(q); err != nil {
			t.Fatal(err)
		}
	}
}
