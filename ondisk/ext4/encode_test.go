package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// wiped is a copy of p with some bytes inverted: what a seal must put right.
func wiped(p []byte, from, to int) []byte {
	q := bytes.Clone(p)
	for i := from; i < to; i++ {
		q[i] ^= 0xff
	}
	return q
}

// same compares bytes with those of the golden image.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf(
				"%s: byte 0x%x differs: %x, the image has %x",
				what,
				i,
				got[i:min(i+8, len(got))],
				want[i:min(i+8, len(want))],
			)
			return
		}
	}
	t.Errorf("%s: %d bytes, the image has %d", what, len(got), len(want))
}

// TestSeal_Golden seals structures that the kernel and mke2fs have sealed, after their sealed fields were inverted:
// each byte is theirs again.
func TestSeal_Golden(t *testing.T) {
	g := newGolden(t, "csum")
	s := g.super
	super := g.p[SuperblockOffset:][:SuperblockSize]
	p := wiped(super, 0x78, 0x79)
	s.SealSuperblock(p) // by a word of its first sector: the checksum in the second one stays
	if bytes.Equal(p[:512], wiped(super, 0x78, 0x79)[:512]) {
		t.Error("the seal of a changed superblock is that of the old one")
	}
	p[0x78] ^= 0xff
	s.SealSuperblock(p)
	same(t, "superblock", p, super)

	desc := g.desc()[:s.DescSize]
	p = wiped(desc, 0x1e, 0x20)
	s.SealGroupDesc(0, p)
	same(t, "group descriptor", p, desc)

	d, err := s.DecodeGroupDesc(0, desc)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.BlockBitmapSum(g.block(d.BlockBitmap)); got != d.BlockBitmapCsum {
		t.Errorf("block bitmap: 0x%08x, the image has 0x%08x", got, d.BlockBitmapCsum)
	}
	if got := s.InodeBitmapSum(g.block(d.InodeBitmap)); got != d.InodeBitmapCsum {
		t.Errorf("inode bitmap: 0x%08x, the image has 0x%08x", got, d.InodeBitmapCsum)
	}
	p = wiped(desc, 0xc, 0xe)
	s.PutGroupCounts(p, GroupCounts{FreeBlocks: d.FreeBlocks, FreeInodes: d.FreeInodes, ITableUnused: d.ITableUnused,
		BlockBitmapSum: d.BlockBitmapCsum, InodeBitmapSum: d.InodeBitmapCsum})
	same(t, "counts of a group", p, desc)

	seals := 0
	for ino := Ino(1); uint32(ino) <= s.Inodes; ino++ {
		slot := g.slot(ino)
		if binary.LittleEndian.Uint16(slot) == 0 {
			continue
		}
		p := wiped(wiped(slot, 0x7c, 0x7e), 0x82, 0x84)
		s.SealInode(ino, p)
		same(t, fmt.Sprint("inode ", ino), p, slot)
		seals++
	}
	if seals < 5 {
		t.Errorf("the image has %d inodes", seals)
	}

	extents := g.inode(g.find("extents"))
	root, err := DecodeExtentRoot(extents.Block)
	if err != nil {
		t.Fatal(err)
	}
	leaf := g.block(root.Index(0).Leaf)
	p = wiped(leaf, 1020, 1024)
	s.SealExtentBlock(s.Seed().Inode(g.find("extents"), extents.Generation), p)
	same(t, "extents", p, leaf)

	indexed := g.inode(g.find("indexed"))
	seed := s.Seed().Inode(g.find("indexed"), indexed.Generation)
	tree, err := DecodeExtentRoot(indexed.Block)
	if err != nil {
		t.Fatal(err)
	}
	htree := g.block(tree.Extent(0).Start)
	p = wiped(htree, 1020, 1024)
	s.SealHtree(seed, p, true)
	same(t, "root of a hash tree", p, htree)
	names := g.block(tree.Extent(1).Start)
	p = wiped(names, 1012, 1024)
	s.SealDirBlock(seed, p)
	same(t, "directory", p, names)

	file := g.inode(g.find("file"))
	attrs := g.block(file.FileACL)
	p = wiped(attrs, 16, 20)
	s.SealXattrBlock(file.FileACL, p)
	same(t, "attributes", p, attrs)
}

// TestEncode_Golden decodes structures that the kernel has made and encodes them again: the bytes are the kernel's.
func TestEncode_Golden(t *testing.T) {
	for _, name := range []string{"csum", "plain"} {
		g := newGolden(t, name)
		s := g.super
		for _, file := range []string{"extents", "file", "link", "indexed"} {
			ino := g.find(file)
			slot := g.slot(ino)
			n := g.inode(ino)
			p := make([]byte, s.InodeSize)
			s.EncodeInode(&n, p)
			copy(p[int(s.InodeSize)-len(n.XattrArea):], n.XattrArea)
			copy(p[0x24:0x28], slot[0x24:0x28]) // the version, which varve leaves 0
			copy(p[0x98:0x9c], slot[0x98:0x9c]) // its upper half
			copy(p[0x68:0x6c], slot[0x68:0x6c]) // the block of attributes: a new inode has none
			s.SealInode(ino, p)
			same(t, name+": inode of "+file, p, slot)
			if area := n.XattrArea; HasInodeXattrs(area) {
				attrs, err := DecodeInodeXattrs(ino, area)
				if err != nil {
					t.Fatal(err)
				}
				p, fits := EncodeInodeXattrs(len(area), attrs)
				again, err := DecodeInodeXattrs(ino, p)
				if !fits || err != nil || !slices.EqualFunc(attrs, again, equalXattr) {
					t.Errorf("%s: attributes of %s are %v after a round trip: %v", name, file, again, err)
				}
			}
		}
		n := g.inode(g.find("file"))
		block := g.block(n.FileACL)
		attrs, err := s.DecodeXattrBlock(n.FileACL, block)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := s.EncodeXattrBlock(attrs)
		if !ok {
			t.Fatal("a block of attributes has no room for its own")
		}
		s.SealXattrBlock(n.FileACL, p)
		copy(p[4:8], block[4:8]) // references
		same(t, name+": attributes", p, block)

		extents := g.inode(g.find("extents"))
		root, err := DecodeExtentRoot(extents.Block)
		if err != nil {
			t.Fatal(err)
		}
		p = make([]byte, BlockBytes)
		EncodeExtentNode(p, root.Entries(), 4, root.Depth())
		for i := range root.Entries() {
			EncodeExtentIndex(p[12*(i+1):], root.Index(i))
		}
		same(t, name+": root of extents", p[:12*(root.Entries()+1)], extents.Block[:12*(root.Entries()+1)])
		leaf := g.block(root.Index(0).Leaf)
		node, err := s.DecodeExtentBlock(s.Seed().Inode(g.find("extents"), extents.Generation), 0, leaf)
		if err != nil {
			t.Fatal(err)
		}
		p = make([]byte, s.BlockSize)
		EncodeExtentNode(p, node.Entries(), s.ExtentCapacity(), 0)
		for i := range node.Entries() {
			EncodeExtent(p[12*(i+1):], node.Extent(i))
		}
		same(t, name+": extents", p[:12*(node.Entries()+1)], leaf[:12*(node.Entries()+1)])

		acl := aclOf(t, g, "extents")
		entries, err := DecodeACL(acl)
		if err != nil || len(entries) != 5 {
			t.Fatalf("%s: the ACL has %d entries: %v", name, len(entries), err)
		}
		same(t, name+": ACL", EncodeACL(entries), acl)
		wide, err := ACLToXattr(acl)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeACLXattr(wide); err != nil || !slices.Equal(again, entries) {
			t.Errorf("%s: the ACL of getxattr(2) has %v, expected %v: %v", name, again, entries, err)
		}
	}
}

func equalXattr(a, b Xattr) bool {
	return a.Index == b.Index && bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
}

func aclOf(t *testing.T, g golden, file string) []byte {
	t.Helper()
	attrs, err := DecodeInodeXattrs(g.find(file), g.inode(g.find(file)).XattrArea)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attrs {
		if a.Index == XattrACLAccess {
			return a.Value
		}
	}
	t.Fatalf("%s has no ACL", file)
	return nil
}

// TestPackTime_Limits packs times and unpacks them by the words of an inode: what does not fit is cut to the nearest
// that does.
func TestPackTime_Limits(t *testing.T) {
	const last = 1<<34 - 1<<31 - 1
	for _, c := range []struct{ at, wide, narrow time.Time }{
		{time.Unix(0, 0), time.Unix(0, 0), time.Unix(0, 0)},
		{time.Unix(5, 123456789), time.Unix(5, 123456789), time.Unix(5, 0)},
		{time.Unix(-1, 999999999), time.Unix(-1, 999999999), time.Unix(-1, 0)},
		{time.Unix(1<<31-1, 7), time.Unix(1<<31-1, 7), time.Unix(1<<31-1, 0)},
		{time.Unix(1<<31, 7), time.Unix(1<<31, 7), time.Unix(1<<31-1, 0)},
		{time.Unix(last, 7), time.Unix(last, 0), time.Unix(1<<31-1, 0)},
		{time.Unix(last+1, 7), time.Unix(last, 0), time.Unix(1<<31-1, 0)},
		{time.Unix(-1<<31, 0), time.Unix(-1<<31, 0), time.Unix(-1<<31, 0)},
		{time.Unix(-1<<40, 9), time.Unix(-1<<31, 0), time.Unix(-1<<31, 0)},
	} {
		for extra, want := range map[uint16]time.Time{32: c.wide, 0: c.narrow} {
			p := make([]byte, 256)
			putTime(p, OffMtime, OffMtimeExtra, extra, c.at)
			if got := inodeTime(p, OffMtime, OffMtimeExtra, extra); !got.Equal(want) {
				t.Errorf("%v with %d extra bytes is %v, expected %v", c.at.UTC(), extra, got.UTC(), want.UTC())
			}
		}
	}
}

// TestDirents_Random inserts, replaces and removes names in a block at random, and compares with a model. Refused edits
// change nothing.
func TestDirents_Random(t *testing.T) {
	for _, filetype := range []bool{true, false} {
		f := newGolden(t, "csum").super.DirentFormat(0)
		f.Filetype = filetype
		rnd := rand.New(rand.NewSource(2))
		p, end := make([]byte, 1024), 1012
		f.EmptyDirBlock(p, end)
		model := map[string]Ino{}
		full := 0
		for range 5000 {
			name := fmt.Sprintf("%.*s%d", rnd.Intn(60), strings.Repeat("n", 60), rnd.Intn(8))
			ino, old := Ino(11+rnd.Intn(50)), model[name]
			before := bytes.Clone(p)
			var err, want error
			switch rnd.Intn(4) {
			case 0:
				if err = f.RemoveDirent(p, end, old, []byte(name)); old == 0 {
					want = ErrNoName
				} else {
					delete(model, name)
				}
			case 1:
				if err = f.ReplaceDirent(p, end, []byte(name), old, ino, FileTypeDir); old == 0 {
					want = ErrNoName
				} else {
					model[name] = ino
				}
			case 2:
				err, want = f.RemoveDirent(p, end, old+1, []byte(name)), ErrNoName // it refers to another inode
			default:
				err = f.InsertDirent(p, end, ino, FileTypeRegular, []byte(name))
				switch {
				case old != 0:
					want = ErrNameExists
				case errors.Is(err, ErrNoRoom):
					full++
					want = ErrNoRoom
				default:
					model[name] = ino
				}
			}
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Fatalf("%q: %v, expected %v", name, err, want)
			}
			if err != nil && !bytes.Equal(p, before) {
				t.Fatalf("an edit that was refused (%v) changed the block", err)
			}
			got := map[string]Ino{}
			for at := 0; at < end; {
				e, err := f.Decode(p, at)
				if err != nil {
					t.Fatal(err)
				}
				if e.Ino != 0 {
					got[string(e.Name)] = e.Ino
				}
				at += e.RecLen
			}
			if len(got) != len(model) {
				t.Fatalf("the block has %d names, expected %d", len(got), len(model))
			}
			for name, ino := range model {
				if found, _, ok := f.HasDirent(p, end, []byte(name)); !ok || found != ino {
					t.Fatalf("%q is %d, expected %d", name, found, ino)
				}
			}
		}
		if full == 0 {
			t.Error("the block was never full")
		}
	}
}

// TestXattrs_Full encodes attributes until there is no room for more, and finds all again.
func TestXattrs_Full(t *testing.T) {
	s := newGolden(t, "csum").super
	var attrs []Xattr
	for i := 0; ; i++ {
		x := Xattr{Index: XattrUser, Name: fmt.Appendf(nil, "name%d", i), Value: bytes.Repeat([]byte{byte(i)}, 13*i)}
		p, fits := s.EncodeXattrBlock(append(slices.Clone(attrs), x))
		if !fits {
			break
		}
		attrs = append(attrs, x)
		s.SealXattrBlock(block.Number(9), p)
		got, err := s.DecodeXattrBlock(9, p)
		if err != nil || !slices.EqualFunc(got, attrs, equalXattr) {
			t.Fatalf("%d attributes: %d found, %v", len(attrs), len(got), err)
		}
		if XattrRefs(p) != 1 {
			t.Fatalf("a new block has %d references", XattrRefs(p))
		}
	}
	if len(attrs) < 8 {
		t.Errorf("a block holds %d attributes", len(attrs))
	}
	for size, fits := range map[int]bool{0: false, 4: false, 24: false, 28: true} {
		if _, ok := EncodeInodeXattrs(size, []Xattr{{Index: XattrUser, Name: []byte("a")}}); ok != fits {
			t.Errorf("an attribute fits into %d bytes: %v", size, ok)
		}
	}
}

// TestACL_Rejects: each rule of POSIX ACLs that checkACL knows, in both forms.
func TestACL_Rejects(t *testing.T) {
	const none = aclUndefinedID
	user, group, other := ACLEntry{ACLUserObj, 7, none}, ACLEntry{ACLGroupObj, 5, none}, ACLEntry{ACLOther, 4, none}
	named, mask := ACLEntry{aclUser, 6, 5}, ACLEntry{ACLMask, 7, none}
	good := []ACLEntry{user, named, group, mask, other}
	if got, err := DecodeACL(EncodeACL(good)); err != nil || !slices.Equal(got, good) {
		t.Fatalf("%v: %v", got, err)
	}
	for what, entries := range map[string][]ACLEntry{
		"no owner":        {group, other},
		"no group":        {user, other},
		"no others":       {user, group},
		"two owners":      {user, user, group, other},
		"out of order":    {user, other, group},
		"names, no mask":  {user, named, group, other},
		"a tag":           {user, group, {Tag: 0x40, Perm: 1}, other},
		"permission bits": {user, group, {Tag: ACLOther, Perm: 8}},
	} {
		if _, err := DecodeACL(EncodeACL(entries)); err == nil {
			t.Errorf("%s: %v passes", what, entries)
		}
	}
	for _, p := range [][]byte{{1}, {2, 0, 0, 0, 1}, EncodeACL(good)[:9], append([]byte{9}, EncodeACL(good)[1:]...)} {
		if _, err := DecodeACL(p); err == nil {
			t.Errorf("%x passes", p)
		}
	}
}

// TestOrphanBlock_Golden puts orphans into a block, in the layout of the format's documentation, and finds them again.
func TestOrphanBlock_Golden(t *testing.T) {
	s := newGolden(t, "csum").super
	p := make([]byte, s.BlockSize)
	s.PutOrphans(40, 7, 99, p, []Ino{0, 13, 0, 14})
	le := binary.LittleEndian
	if le.Uint32(p[4:]) != 13 || le.Uint32(p[12:]) != 14 || le.Uint32(p[1016:]) != 0x0b10ca04 {
		t.Errorf("the block begins with %x, and ends with %x", p[:16], p[1016:])
	}
	got, err := s.DecodeOrphanBlock(40, 7, 99, p)
	if err != nil || !slices.Contains(got, 13) || !slices.Contains(got, 14) {
		t.Errorf("orphans %v: %v", got, err)
	}
	for what, fn := range map[string]func() ([]Ino, error){
		"another inode":      func() ([]Ino, error) { return s.DecodeOrphanBlock(41, 7, 99, p) },
		"another generation": func() ([]Ino, error) { return s.DecodeOrphanBlock(40, 8, 99, p) },
		"another block":      func() ([]Ino, error) { return s.DecodeOrphanBlock(40, 7, 98, p) },
		"another magic":      func() ([]Ino, error) { return s.DecodeOrphanBlock(40, 7, 99, wiped(p, 1016, 1017)) },
		"another orphan":     func() ([]Ino, error) { return s.DecodeOrphanBlock(40, 7, 99, wiped(p, 4, 5)) },
	} {
		if _, err := fn(); err == nil {
			t.Errorf("%s passes", what)
		}
	}
}

// TestSuperblock_Edits changes fields of a superblock, and decodes them again.
func TestSuperblock_Edits(t *testing.T) {
	g := newGolden(t, "csum")
	s := g.super
	p := bytes.Clone(g.p[SuperblockOffset:][:SuperblockSize])
	s.PutSuperCounts(p, 77, 33, 21)
	s.PutRecovery(p, true, true)
	s.PutMounted(p, 1<<33+5)
	s.PutWritten(p, 1<<33+6)
	if _, err := DecodeSuperblock(p); err == nil {
		t.Error("an edit without a seal passes")
	}
	s.SealSuperblock(p)
	n, err := DecodeSuperblock(p)
	if err != nil {
		t.Fatal(err)
	}
	if n.FreeBlocks != 77 || n.FreeInodes != 33 || n.LastOrphan != 21 || n.Incompat&IncompatRecover == 0 {
		t.Errorf("%d blocks, %d inodes, orphan %d, features %v", n.FreeBlocks, n.FreeInodes, n.LastOrphan, n.Incompat)
	}
	s.PutRecovery(p, false, false)
	s.PutErrors(
		p,
		3,
		ErrorMark{Time: 1 << 33, Function: "first"},
		ErrorMark{Time: 1<<33 + 1, Function: strings.Repeat("long", 20)},
	)
	s.SealSuperblock(p)
	if n, err = DecodeSuperblock(p); err != nil || n.Incompat&IncompatRecover != 0 {
		t.Errorf("features %v: %v", n.Incompat, err)
	}
	le := binary.LittleEndian
	if count := le.Uint32(p[0x194:]); count != 3 || !bytes.Contains(p, []byte("first\x00")) || p[0x3a]&2 == 0 {
		t.Errorf("%d errors, state %x", count, p[0x3a])
	}
}
