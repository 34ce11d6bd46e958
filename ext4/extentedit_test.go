package ext4

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// tree is a file's extents in order, its depth, and how many blocks its nodes take.
func (m *memFS) tree(node Node) (extents []disk.Extent, depth, nodes int) {
	m.t.Helper()
	is(m.t, "walk the tree", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		root, err := disk.DecodeExtentRoot(n.Block)
		if err != nil {
			return err
		}
		depth = root.Depth()
		var walk func(disk.ExtentNode) error
		walk = func(e disk.ExtentNode) error {
			for i := range e.Entries() {
				if e.Depth() == 0 {
					extents = append(extents, e.Extent(i))
					continue
				}
				nodes++
				child, err := n.extentNode(e.Index(i), e.Depth()-1)
				if err != nil {
					return err
				}
				if child.First(0) != e.Index(i).File {
					return fmt.Errorf("index %d begins at %d, its node at %d", i, e.Index(i).File, child.First(0))
				}
				if err := walk(child); err != nil {
					return err
				}
			}
			return nil
		}
		return walk(root)
	}), nil)
	return extents, depth, nodes
}

func showExtents(list []disk.Extent) string {
	var out []string
	for _, e := range list {
		s := fmt.Sprintf("%d+%d", e.File, e.Len)
		if e.Unwritten {
			s += "u"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// TestExtents_Edits is a table of changes and the extents that are left: what adjoins is joined, what is cut
// is split. Blocks of a step: w writes, p punches, a allocates, z zeros, t truncates to a length; s makes all
// durable, so that freed blocks are used again.
func TestExtents_Edits(t *testing.T) {
	for _, c := range []struct{ name, steps, want string }{
		{"nothing", "", ""},
		{"one block", "w0+1", "0+1"},
		{"joined with the left", "w0+2 w2+3", "0+5"},
		{"joined with both", "a0+9 p4+1 s a4+1", "0+9u"},
		{"first block cut", "w0+5 p0+1", "1+4"},
		{"last block cut", "w0+5 p4+1", "0+4"},
		{"middle cut", "w0+5 p2+1", "0+2 3+2"},
		{"all cut", "w0+5 p0+5", ""},
		{"cut over a hole", "w0+3 w6+3 p2+5", "0+2 7+2"},
		{"cut of a hole", "w0+2 w6+2 p3+2", "0+2 6+2"},
		{"cut behind the end", "w0+2 p7+9", "0+2"},
		{"cut short", "w0+10 t4", "0+4"},
		{"cut short in a hole", "w0+2 w6+2 t4", "0+2"},
		{"cut to nothing", "w0+10 t0", ""},
		{"longer", "w0+2 t9", "0+2"},
		{"unwritten", "a0+8", "0+8u"},
		{"allocated twice", "a0+4 a2+6", "0+8u"},
		{"written at the front", "a0+8 w0+2", "0+2 2+6u"},
		{"written at the back", "a0+8 w6+2", "0+6u 6+2"},
		{"written in the middle", "a0+8 w3+2", "0+3u 3+2 5+3u"},
		{"written by and by", "a0+8 w0+2 w2+3 w5+3", "0+8"},
		{"written backwards", "a0+6 w4+2 w2+2 w0+2", "0+6"},
		{"zeroed in the middle", "w0+8 z3+2", "0+3 3+2u 5+3"},
		{"zeroed and written again", "w0+8 z3+2 w3+2", "0+8"},
		{"unwritten cut", "a0+8 p2+2", "0+2u 4+4u"},
		{"allocated around data", "w3+2 a0+8", "0+3u 3+2 5+3u"},
		{"root full", "w0+1 w2+1 w4+1 w6+1", "0+1 2+1 4+1 6+1"},
		{"root overfull", "w0+1 w2+1 w4+1 w6+1 w8+1", "0+1 2+1 4+1 6+1 8+1"},
		{"and back", "w0+1 w2+1 w4+1 w6+1 w8+1 p4+5", "0+1 2+1"},
		{"in front of a node", "w2+1 w4+1 w6+1 w8+1 w10+1 w0+1", "0+1 2+1 4+1 6+1 8+1 10+1"},
		{"front of a node cut", "w2+1 w4+1 w6+1 w8+1 w10+1 p0+4", "4+1 6+1 8+1 10+1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "1k")
			f := newFileModel(m, "file")
			f.steps(c.steps)
			got, _, nodes := m.tree(f.node)
			if s := showExtents(got); s != c.want {
				t.Fatalf("extents %s, expected %s", s, c.want)
			}
			f.verify(nodes)
			m.sync()
			if v := ok(m.sealed().Check(nil))(t); !v.Clean() {
				t.Fatalf("%+v", v.Problems)
			}
		})
	}
}

// TestExtents_Depth makes a tree of two levels below the root, in several orders, and takes it down again.
func TestExtents_Depth(t *testing.T) {
	const blocks = 900
	orders := map[string]func(i int) int{
		"forwards":  func(i int) int { return i },
		"backwards": func(i int) int { return blocks - 1 - i },
		"scattered": func(i int) int { return i * 611 % blocks },
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "1k")
			f := newFileModel(m, "file")
			for i := range blocks {
				f.write(2*order(i)*f.bs, f.bs)
			}
			extents, depth, nodes := m.tree(f.node)
			if depth != 2 || len(extents) != blocks {
				t.Fatalf("%d extents at depth %d, expected %d at 2", len(extents), depth, blocks)
			}
			f.verify(nodes)
			m.check()
			f.punch(100*f.bs, 1500*f.bs) // in as many transactions as it needs
			extents, _, nodes = m.tree(f.node)
			if len(extents) != blocks-750 {
				t.Fatalf("%d extents are left", len(extents))
			}
			f.verify(nodes)
			m.check()
			f.truncate(3 * f.bs)
			if extents, depth, _ = m.tree(f.node); depth != 0 || showExtents(extents) != "0+1 2+1" {
				t.Fatalf("%s at depth %d, expected the root alone", showExtents(extents), depth)
			}
			f.verify(0)
			m.check()
		})
	}
}

// TestExtents_NodeForPromise writes into every other block of what was allocated, with no block free: the tree needs
// nodes, which are kept for that.
func TestExtents_NodeForPromise(t *testing.T) {
	m := openMem(t, "1k")
	f := newFileModel(m, "file")
	f.allocate(0, 400*f.bs, false)
	m.exhaust()
	for b := 1; b < 400; b += 2 {
		f.write(b*f.bs, f.bs)
	}
	extents, depth, nodes := m.tree(f.node)
	if depth == 0 || len(extents) != 400 {
		t.Fatalf("%d extents at depth %d", len(extents), depth)
	}
	f.verify(nodes)
	m.check()
}

// TestExtents_Conflict writes to two places of one file at a time: both stand, whichever commits first.
func TestExtents_Conflict(t *testing.T) {
	m := openMem(t, "1k")
	random := rand.New(rand.NewPCG(7, 7))
	f := newFileModel(m, "file")
	for range 60 {
		a, b := random.IntN(300), random.IntN(300)
		if a == b {
			continue
		}
		m.store.between = func() { f.write(a*f.bs, f.bs) }
		if random.IntN(3) == 0 {
			f.punch(b*f.bs, f.bs)
		} else {
			f.write(b*f.bs, f.bs)
		}
	}
	m.store.between = nil
	_, _, nodes := m.tree(f.node)
	f.verify(nodes)
	if s := m.Operations()[opWrite]; s.Aborts == 0 {
		t.Fatalf("no write was tried again: %+v", s)
	}
	m.check()
}
