package ext4

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// TestGeometry_Groups: which groups have a copy of the superblock, and where descriptors lie, for each layout (ext4
// doc, "Layout", "Meta Block Groups").
func TestGeometry_Groups(t *testing.T) {
	base := Superblock{BlockSize: 1024, FirstDataBlock: 1, BlocksPerGroup: 8192, ClusterBlocks: 1,
		Blocks: 1 + 60*8192 + 100, InodesPerGroup: 128, InodeSize: 256, DescSize: 64}
	with := func(change func(*Superblock)) *Superblock {
		s := base
		change(&s)
		return &s
	}
	for _, c := range []struct {
		name  string
		super *Superblock
		want  []Group
	}{
		{"sparse_super", with(func(s *Superblock) { s.ROCompat = ROCompatSparseSuper }),
			[]Group{0, 1, 3, 5, 7, 9, 25, 27, 49}},
		{"sparse_super2", with(func(s *Superblock) {
			s.Compat = CompatSparseSuper2
			s.BackupGroups = [2]uint32{1, 60}
		}), []Group{0, 1, 60}},
		{"sparse_super2 without backups", with(func(s *Superblock) { s.Compat = CompatSparseSuper2 }), []Group{0}},
	} {
		var got []Group
		for g := range c.super.Groups() {
			if c.super.HasSuper(g) {
				got = append(got, g)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: copies in groups %d, expected %d", c.name, got, c.want)
		}
	}
	all := with(func(*Superblock) {})
	if all.Groups() != 61 || !all.HasSuper(2) || all.GroupBlocks(60) != 100 || all.GroupBlocks(0) != 8192 ||
		all.GroupFirst(2) != 1+2*8192 {
		t.Errorf("%d groups; the last has %d blocks", all.Groups(), all.GroupBlocks(60))
	}
	for g, want := range map[Group]struct {
		at  block.Number
		off int
	}{0: {2, 0}, 15: {2, 15 * 64}, 16: {3, 0}, 60: {5, 12 * 64}} {
		if at, off := all.DescBlock(g); at != want.at || off != want.off {
			t.Errorf("descriptor %d is in block %d at %d, expected %d at %d", g, at, off, want.at, want.off)
		}
	}
	meta := with(func(s *Superblock) { s.Incompat, s.ROCompat, s.FirstMetaBG = IncompatMetaBG, ROCompatSparseSuper, 1 })
	for g, want := range map[Group]block.Number{0: 2, 15: 2, 16: 1 + 16*8192, 31: 1 + 16*8192, 32: 1 + 32*8192,
		48: 1 + 48*8192} {
		if at, _ := meta.DescBlock(g); at != want {
			t.Errorf("meta_bg: descriptor %d is in block %d, expected %d", g, at, want)
		}
	}
	for ino, want := range map[Ino]struct {
		g   Group
		nth block.Number
		off int
	}{1: {0, 0, 0}, 4: {0, 0, 768}, 5: {0, 1, 0}, 128: {0, 31, 768}, 129: {1, 0, 0}} {
		if g, nth, off := all.InodeBlock(ino); g != want.g || nth != want.nth || off != want.off {
			t.Errorf("inode %d is in group %d, block %d at %d", ino, g, nth, off)
		}
	}
	for _, c := range []struct {
		first block.Number
		n     uint64
		want  bool
	}{{0, 1, false}, {1, 1, true}, {all.Blocks - 1, 1, true}, {all.Blocks - 1, 2, false}, {all.Blocks, 1, false},
		{1, 1<<64 - 1, false}} {
		if got := all.Contains(c.first, c.n); got != c.want {
			t.Errorf("%d blocks from %d on are on the image: %v", c.n, c.first, got)
		}
	}
}

// TestKind_Features: what a file system is called by its features, and the names of those.
func TestKind_Features(t *testing.T) {
	for _, c := range []struct {
		super Superblock
		want  string
	}{
		{Superblock{}, "ext2"}, {Superblock{Compat: CompatHasJournal}, "ext3"},
		{Superblock{Incompat: IncompatExtents}, "ext4"},
		{Superblock{ROCompat: ROCompatMetadataCsum}, "ext4"},
		{Superblock{Compat: CompatHasJournal, Incompat: IncompatFlexBG}, "ext4"},
	} {
		if got := c.super.Kind(); got != c.want {
			t.Errorf("%v, %v, %v: %s, expected %s", c.super.Compat, c.super.Incompat, c.super.ROCompat, got, c.want)
		}
	}
	for got, want := range map[fmt.Stringer]string{
		Compat(CompatHasJournal | CompatDirIndex): "has_journal dir_index", Incompat(IncompatExtents): "extent",
		ROCompat(ROCompatMetadataCsum): "metadata_csum", Incompat(1 << 30): "FEATURE_I30",
	} {
		if got.String() != want {
			t.Errorf("features are %q, expected %q", got, want)
		}
	}
}

// TestNameHash_Properties: hashes are even, differ by version and seed, and depend on each byte of a name.
func TestNameHash_Properties(t *testing.T) {
	s := newGolden(t, "csum").super
	other := *s
	other.HashSeed[0]++
	name := []byte(strings.Repeat("a name that is longer than one round ", 3))
	seen := map[uint32]string{}
	for version := range uint8(HashTea + 1) {
		hash, _, ok := s.NameHash(version, name)
		if !ok || hash&1 != 0 {
			t.Errorf("version %d: 0x%x, %v", version, hash, ok)
		}
		if was, twice := seen[hash]; twice && version != HashTea {
			t.Errorf("version %d has the hash of version %s", version, was)
		}
		seen[hash] = fmt.Sprint(version)
		if again, _, _ := other.NameHash(version, name); version%3 != 0 && again == hash {
			t.Errorf("version %d does not depend on the seed", version)
		}
		for i := range name {
			changed := slices.Clone(name)
			changed[i] ^= 1
			if again, minor, _ := s.NameHash(version, changed); again == hash && minor == 0 {
				t.Errorf("version %d does not depend on byte %d", version, i)
			}
		}
	}
	if _, _, ok := s.NameHash(HashSiphash, name); ok {
		t.Error("siphash is computed without a key")
	}
	if _, _, ok := s.NameHash(77, name); ok {
		t.Error("an unknown version has a hash")
	}
}

// TestMMP_RoundTrip: what is put into the block is read again, and a changed byte is seen.
func TestMMP_RoundTrip(t *testing.T) {
	s := newGolden(t, "csum").super
	p := make([]byte, 1024)
	want := &MMP{Sequence: 77, Check: 5, Node: "host", Device: "disk"}
	s.PutMMP(p, want)
	got, err := s.DecodeMMP(p)
	if err != nil || got.Sequence != 77 || got.Node != "host" || got.Device != "disk" || got.Check != 5 || !got.InUse() {
		t.Errorf("%+v: %v", got, err)
	}
	for _, at := range []int{0, 4, 20, 100, 0x3fc} {
		if _, err := s.DecodeMMP(wiped(p, at, at+1)); err == nil {
			t.Errorf("a changed byte at %d passes", at)
		}
	}
	want.Sequence = MMPClean
	s.PutMMP(p, want)
	if got, err := s.DecodeMMP(p); err != nil || got.InUse() {
		t.Errorf("clean: %+v, %v", got, err)
	}
}

// TestSplitXattrName_Cases: prefixes that the format has a number for, and names that it cannot hold.
func TestSplitXattrName_Cases(t *testing.T) {
	for name, want := range map[string]struct {
		index uint8
		rest  string
		ok    bool
	}{
		"user.a": {XattrUser, "a", true}, "trusted.a.b": {XattrTrusted, "a.b", true},
		"security.selinux":        {XattrSecurity, "selinux", true},
		"system.posix_acl_access": {XattrACLAccess, "", true}, "system.posix_acl_default": {XattrACLDefault, "", true},
		"system.posix_acl_access2": {}, "user.": {}, "user": {}, "": {}, "system.data": {}, "other.a": {},
		"user." + strings.Repeat("n", 255): {XattrUser, strings.Repeat("n", 255), true},
		"user." + strings.Repeat("n", 256): {},
	} {
		if index, rest, ok := SplitXattrName(name); index != want.index || rest != want.rest || ok != want.ok {
			t.Errorf("%.30q is %d, %.10q, %v; expected %d, %.10q, %v", name, index, rest, ok, want.index, want.rest, want.ok)
		}
	}
}
