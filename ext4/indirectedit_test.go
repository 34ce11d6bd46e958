package ext4

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/varvefs/varve/ondisk"
)

// TestPointers_Levels writes around the places where a level of indirect blocks begins, and cuts there.
func TestPointers_Levels(t *testing.T) {
	m := openMem(t, "ext3")
	per := int(m.super.BlockSize) / pointerSize
	single, double, triple := directPointers, directPointers+per, directPointers+per+per*per
	for _, c := range []struct {
		name   string
		blocks []int
		tree   int // indirect blocks
		cut    int
		left   int // indirect blocks afterwards
	}{
		{"direct", []int{0, 11}, 0, 1, 0},
		{"the first of a single", []int{11, 12}, 1, 12, 0},
		{"within a single", []int{12, 20, 12 + per - 1}, 1, 13, 1},
		{"single and double", []int{single, double - 1, double}, 3, double, 1},
		{"two blocks of a double", []int{double, double + per - 1, double + per}, 3, double + per, 2},
		{"the last of a double", []int{triple - 1}, 2, triple - 1, 0},
		{"double and triple", []int{0, triple - 1, triple}, 5, triple, 2},
		{"within a triple", []int{triple, triple + per, triple + per*per}, 6, triple + per, 3},
		{"everything", []int{0, single, double, triple}, 6, 0, 0},
		{"all but the direct", []int{3, single, double, triple}, 6, 4, 0},
		{"cut where nothing is", []int{0, triple}, 3, double, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "ext3")
			f := &fileModel{m: m, node: m.mkfile(Root, "file", nil), bs: int(m.super.BlockSize), blocks: map[int]Kind{}}
			for _, b := range c.blocks {
				f.writeSparse(b)
			}
			f.pointers(c.tree)
			m.check()
			size := uint64(c.cut * f.bs)
			ok(m.SetAttr(Cred{}, f.node, Attr{Size: &size}))(t)
			for b := range f.blocks {
				if b >= c.cut {
					delete(f.blocks, b)
				}
			}
			f.pointers(c.left)
			m.check()
		})
	}
}

// writeSparse writes one block far out, which the model's bytes do not follow.
func (f *fileModel) writeSparse(b int) {
	f.m.t.Helper()
	f.m.write(f.node, int64(b)*int64(f.bs), fill(b, f.bs))
	f.blocks[b] = Data
}

// pointers compares the blocks that are mapped, their contents, and how many indirect blocks there are.
func (f *fileModel) pointers(tree int) {
	f.m.t.Helper()
	n := f.m.stat(f.node)
	if got, want := n.Blocks, uint64((len(f.blocks)+tree)*f.bs/512); got != want {
		f.m.t.Fatalf("occupies %d sectors, expected %d: %d of data, %d of pointers", got, want, len(f.blocks), tree)
	}
	is(f.m.t, "read", f.m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, f.node); err != nil {
			return err
		}
		for b := range f.blocks {
			p := make([]byte, f.bs)
			if _, err := n.ReadAt(p, int64(b)*int64(f.bs)); err != nil {
				return err
			}
			if d := firstDifference(p, fill(b, f.bs)); d < f.bs {
				return fmt.Errorf("block %d differs from byte %d on", b, d)
			}
		}
		return nil
	}), nil)
}

// TestPointers_Greatest writes the last byte that three levels reach, and not the one behind it.
func TestPointers_Greatest(t *testing.T) {
	m := openMem(t, "ext3")
	file := m.mkfile(Root, "file", nil)
	n := m.stat(file)
	most := int64(m.maxSize(&n))
	m.write(file, most-1, []byte("x"))
	if n = m.stat(file); int64(n.Size) != most || n.Blocks != 4*2 {
		t.Fatalf("%d bytes in %d sectors", n.Size, n.Blocks)
	}
	_, err := m.Write(Cred{}, file, most, []byte("y"), false)
	is(t, "behind the greatest size", err, ErrTooBig)
	path := m.check()
	if got := m.features(); got&0x2 == 0 {
		t.Fatalf("%s: large_file is not on, with a file of %d bytes: %#x", path, most, got)
	}
}

// features is the word of features that a reader may leave alone, at home.
func (m *memFS) features() uint32 { return binary.LittleEndian.Uint32(m.store.image.p[1024+0x64:]) }

// TestPointers_Migration turns pointers into extents and back where that is possible (chattr +e and -e).
func TestPointers_Migration(t *testing.T) {
	m := openMem(t, "1k")
	file := m.mkfile(Root, "file", fill(1, 5000))
	extents := m.stat(file).Flags
	pointers := extents &^ 0x80000
	is(t, "to pointers", m.SetFlags(Cred{}, file, pointers), nil)
	if n := m.stat(file); n.Flags != pointers {
		t.Fatalf("flags %#x, expected %#x", n.Flags, pointers)
	}
	m.check()
	is(t, "to extents", m.SetFlags(Cred{}, file, extents), nil)
	if got, _, _ := m.tree(file); showExtents(got) != "0+5" {
		t.Fatalf("extents %s", showExtents(got))
	}
	m.check()
	if d := firstDifference(m.read(file), fill(1, 5000)); d != 5000 {
		t.Fatalf("contents differ from byte %d on", d)
	}
	long := m.mkfile(Root, "long", fill(2, 13*1024))
	is(t, "13 blocks to pointers", m.SetFlags(Cred{}, long, pointers), ondisk.ErrUnsupported)
	if n := m.stat(long); n.Flags != extents {
		t.Fatalf("flags %#x after a refusal, expected %#x", n.Flags, extents)
	}
	m.check()
}
