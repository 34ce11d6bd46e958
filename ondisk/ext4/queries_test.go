package ext4

import (
	"encoding/binary"
	"testing"
)

// TestInode_Types: each file type answers to its own questions.
func TestInode_Types(t *testing.T) {
	for mode, want := range map[uint16][4]bool{ // directory, regular, symlink, device
		ModeDir | 0o755:     {true, false, false, false},
		ModeRegular | 0o644: {false, true, false, false},
		ModeSymlink | 0o777: {false, false, true, false},
		ModeChar:            {false, false, false, true},
		ModeBlock:           {false, false, false, true}, // has the bits of a directory and of a device
		ModeFIFO:            {},
		ModeSocket:          {},
		0o777:               {},
	} {
		n := Inode{Mode: mode}
		if got := [4]bool{n.IsDir(), n.IsRegular(), n.IsSymlink(), n.IsDevice()}; got != want {
			t.Errorf("0%o: %v, expected %v", mode, got, want)
		}
	}
}

// TestInode_Fields: which of the fields behind the first 128 bytes an inode has, by its ExtraIsize.
func TestInode_Fields(t *testing.T) {
	for _, c := range []struct {
		extra  uint16
		offset int
		want   bool
	}{
		{0, OffCtimeExtra, false},
		{4, OffCtimeExtra, false}, // 0x84 to 0x88
		{8, OffCtimeExtra, true},
		{8, OffMtimeExtra, false},
		{24, OffCrtimeX, true},
		{24, OffProject, false},
		{28, OffProject, false},
		{32, OffProject, true},
	} {
		n := Inode{ExtraIsize: c.extra}
		if got := n.HasField(c.offset); got != c.want {
			t.Errorf("extra size %d: the field at 0x%x %v", c.extra, c.offset, got)
		}
	}
	for size, want := range map[uint16]uint16{128: 0, 144: 16, 160: 32, 256: 32, 4096: 32} {
		s := Superblock{InodeSize: size}
		if got := s.NewExtraIsize(); got != want {
			t.Errorf("inodes of %d bytes: extra size %d, expected %d", size, got, want)
		}
	}
}

// TestDirent_End: the checksum of a block looks like an entry, and ends the room for names.
func TestDirent_End(t *testing.T) {
	for _, c := range []struct {
		e    Dirent
		want bool
	}{
		{Dirent{Type: fileTypeTail, RecLen: 12}, true},
		{Dirent{Ino: 2, Type: fileTypeTail, RecLen: 12}, false},
		{Dirent{Type: FileTypeRegular, RecLen: 12}, false},
		{Dirent{Type: fileTypeTail, RecLen: 16}, false},
	} {
		if c.e.IsTail() != c.want {
			t.Errorf("%+v: %v", c.e, c.e.IsTail())
		}
	}
	for ro, want := range map[ROCompat]int{0: 4096, ROCompatGDTCsum: 4096, ROCompatMetadataCsum: 4084} {
		s := Superblock{BlockSize: 4096, ROCompat: ro}
		if s.DirEnd() != want {
			t.Errorf("features %v: entries end at %d, expected %d", ro, s.DirEnd(), want)
		}
	}
}

// TestSuperblock_Clean: the state says whether it was unmounted, and keeps its other bits.
func TestSuperblock_Clean(t *testing.T) {
	p := make([]byte, SuperblockSize)
	for _, c := range []struct {
		before uint16
		clean  bool
		want   uint16
	}{{0, true, 1}, {1, true, 1}, {1, false, 0}, {7, false, 6}, {6, true, 7}} {
		binary.LittleEndian.PutUint16(p[0x3a:], c.before)
		PutClean(p, c.clean)
		if got := binary.LittleEndian.Uint16(p[0x3a:]); got != c.want {
			t.Errorf("state %d, clean %v: %d, expected %d", c.before, c.clean, got, c.want)
		}
	}
}

// TestSuperblock_Unsealed: wrong checksums of an inode and of a directory pass without seals alone.
func TestSuperblock_Unsealed(t *testing.T) {
	g := newGolden(t, "csum")
	root := g.inode(RootIno)
	node, err := DecodeExtentRoot(root.Block)
	if err != nil {
		t.Fatal(err)
	}
	slot, dir := g.slot(RootIno), g.block(node.Extent(0).Start)
	slot[4], dir[20] = slot[4]^1, dir[20]^1
	seed := g.super.Seed().Inode(RootIno, root.Generation)
	for _, s := range []*Superblock{g.super, g.super.Unsealed()} {
		var n Inode
		inode := s.DecodeInode(&n, RootIno, slot)
		names := s.CheckDirBlock(seed, dir)
		if s == g.super {
			rejects(t, "inode", inode, "checksum")
			rejects(t, "directory", names, "checksum")
		} else if inode != nil || names != nil {
			t.Errorf("without seals: %v, %v", inode, names)
		}
	}
}

// TestXattr_Questions: names that stand for a meaning of their own.
func TestXattr_Questions(t *testing.T) {
	for _, c := range []struct {
		x                  Xattr
		inline, encryption bool
	}{
		{Xattr{Index: XattrSystem, Name: []byte("data")}, true, false},
		{Xattr{Index: XattrUser, Name: []byte("data")}, false, false},
		{Xattr{Index: XattrSystem, Name: []byte("data2")}, false, false},
		{Xattr{Index: XattrEncryption, Name: []byte("c")}, false, true},
		{Xattr{Index: XattrEncryption, Name: []byte("d")}, false, false},
		{Xattr{Index: XattrUser, Name: []byte("c")}, false, false},
	} {
		if c.x.IsInlineData() != c.inline || c.x.IsEncryptionContext() != c.encryption {
			t.Errorf("%d %s: inline data %v, encryption context %v", c.x.Index, c.x.Name, c.x.IsInlineData(),
				c.x.IsEncryptionContext())
		}
	}
	for name, want := range map[string]bool{"user.": true, "trusted.": true, "security.": true, "user.a": false,
		"user": false, "": false, "system.": false, "system.posix_acl_access": false} {
		if IsXattrPrefix(name) != want {
			t.Errorf("%q is a namespace: %v", name, !want)
		}
	}
}

// TestXattr_Room: an area takes values that grow by as much as InodeXattrRoom says, and by no more.
func TestXattr_Room(t *testing.T) {
	attr := func(name string, n int) Xattr {
		return Xattr{Index: XattrUser, Name: []byte(name), Value: make([]byte, n)}
	}
	for _, c := range []struct {
		size  int
		attrs []Xattr
		room  int
	}{
		{96, nil, 88},
		{7, nil, -1},
		{8, nil, 0},
		{96, []Xattr{attr("a", 0)}, 68}, // 16 and 1, rounded up to 20
		{96, []Xattr{attr("a", 1)}, 64}, // and 4
		{96, []Xattr{attr("abcd", 5), attr("b", 40)}, 0}, // 20 and 8, 20 and 40
		{96, []Xattr{attr("abcd", 5), attr("b", 41)}, -1},
	} {
		room := InodeXattrRoom(c.size, c.attrs)
		if room != c.room {
			t.Errorf("%d bytes with %d attributes: room for %d, expected %d", c.size, len(c.attrs), room, c.room)
		}
		if len(c.attrs) == 0 {
			continue
		}
		if _, ok := EncodeInodeXattrs(c.size, c.attrs); ok != (room >= 0) {
			t.Errorf("%d bytes with %d attributes: encoded %v, room %d", c.size, len(c.attrs), ok, room)
		}
		if room < 0 {
			continue
		}
		last := &c.attrs[len(c.attrs)-1]
		padded := (len(last.Value) + 3) &^ 3
		for n, want := range map[int]bool{padded + room: true, padded + room + 1: false} {
			last.Value = make([]byte, n)
			if p, ok := EncodeInodeXattrs(c.size, c.attrs); ok != want {
				t.Errorf("%d bytes: a value of %d bytes is encoded: %v", c.size, n, ok)
			} else if ok {
				if got, err := DecodeInodeXattrs(12, p); err != nil || len(got) != len(c.attrs) {
					t.Errorf("%d bytes: decoded %d attributes, %v", c.size, len(got), err)
				}
			}
		}
	}
}

// TestXattr_InodeValue: a value in an inode of its own is checked by the hash that the inode holds.
func TestXattr_InodeValue(t *testing.T) {
	g := newGolden(t, "csum")
	value := []byte("a long value")
	sum := CRC32C(uint32(g.super.Seed()), value)
	if err := g.super.CheckXattrValue(13, sum, value); err != nil {
		t.Error(err)
	}
	rejects(t, "a changed value", g.super.CheckXattrValue(13, sum, []byte("a long Value")), "inode 13: checksum")
	rejects(t, "a longer value", g.super.CheckXattrValue(13, sum, append(value, 0)), "inode 13: checksum")
}
