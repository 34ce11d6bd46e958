package ext4

import "testing"

// seedImage adds the blocks of a golden image to a fuzz corpus.
func seedImage(f *testing.F) golden {
	g := newGolden(f, "plain")
	for at := 1024; at < 60<<10; at += 1024 {
		f.Add(g.p[at : at+1024])
	}
	return g
}

func FuzzSuperblock(f *testing.F) {
	seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := DecodeSuperblock(p)
		if err != nil || s.IsJournalDevice() {
			return
		}
		// Accepted values must be safe to compute with.
		last := s.Groups() - 1
		s.HasSuper(last)
		s.DescBlock(last)
		g, _, offset := s.InodeBlock(Ino(s.Inodes))
		if g > last || offset+int(s.InodeSize) > int(s.BlockSize) || s.GroupFirst(last) >= s.Blocks ||
			s.GroupBlocks(last) == 0 {
			t.Errorf("inconsistent: %+v", s)
		}
	})
}

func FuzzInode(f *testing.F) {
	g := seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		var n Inode
		if g.super.DecodeInode(&n, 12, p) == nil {
			g.super.FastSymlink(&n)
			n.Device()
			_, _ = DecodeInodeXattrs(12, n.XattrArea)
		}
		_, _ = g.super.DecodeGroupDesc(0, p)
	})
}

func FuzzExtent(f *testing.F) {
	g := seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		node, err := g.super.DecodeExtentBlock(0, 0, p)
		if err != nil {
			node, err = DecodeExtentRoot(p)
		}
		if err != nil {
			return
		}
		for i := range node.Entries() {
			_ = g.super.CheckExtent(node.Extent(i))
			node.Index(i)
		}
		if i := node.Search(77); i >= node.Entries() {
			t.Errorf("search finds entry %d of %d", i, node.Entries())
		}
	})
}

func FuzzDirent(f *testing.F) {
	seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, format := range []DirentFormat{{true, false, 64}, {false, false, 64}, {true, true, 64}} {
			for at := 0; at < len(p); {
				e, err := format.Decode(p, at)
				if err != nil {
					break
				}
				if e.RecLen <= 0 || at+e.RecLen > len(p) {
					t.Fatalf("record of %d at %d of %d", e.RecLen, at, len(p))
				}
				at += e.RecLen
			}
		}
	})
}

func FuzzHtree(f *testing.F) {
	g := seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) != int(g.super.BlockSize) {
			return
		}
		root, err := g.super.DecodeHtreeRoot(0, p)
		if err != nil {
			root, err = g.super.DecodeHtreeNode(0, p)
		}
		if err == nil {
			root.Child(root.Search(0x12345678))
			root.Hash(root.Count() - 1)
		}
	})
}

func FuzzXattr(f *testing.F) {
	g := seedImage(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		attrs, _ := g.super.DecodeXattrBlock(9, p)
		more, _ := DecodeInodeXattrs(12, p)
		for _, a := range append(attrs, more...) {
			a.FullName()
			_, _ = ACLToXattr(a.Value)
		}
		_, _ = ACLToXattr(p)
		_, _ = g.super.DecodeMMP(p)
		_, _ = g.super.DecodeOrphanBlock(12, 1, 9, p)
	})
}

func FuzzHash(f *testing.F) {
	g := newGolden(f, "plain")
	f.Add(uint8(1), []byte("name"))
	f.Fuzz(func(t *testing.T, version uint8, name []byte) {
		if hash, _, ok := g.super.NameHash(version, name); ok && hash&1 != 0 {
			t.Errorf("hash 0x%x has its lowest bit set", hash)
		}
		NoKeyName(0, 0, name)
	})
}
