package ext4

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// scattered makes a file of many extents, with an unmapped block between any two, and returns a block of metadata that
// maps its rear part.
func scattered(t *testing.T, m *memFS, name string) (node Node, rear block.Number) {
	t.Helper()
	node = m.mkfile(Root, name, nil)
	bs := int(m.super.BlockSize)
	for i := 300; i >= 0; i-- { // backwards, so that neighbours in the file are none on the image
		m.write(node, int64(2*i*bs), fill(i, bs))
	}
	m.sync()
	n := m.stat(node)
	if !n.Has(disk.InodeExtents) { // the second pointer of the block of pointers to blocks of pointers
		at := binary.LittleEndian.Uint32(n.Block[4*(directPointers+1):])
		p := ok(m.store.home(block.Number(at)))(t)
		return node, block.Number(binary.LittleEndian.Uint32(p[4:]))
	}
	for level := ok(disk.DecodeExtentRoot(n.Block))(t); level.Depth() > 0; {
		rear = level.Index(level.Entries() - 1).Leaf
		seed := m.super.Seed().Inode(n.Ino, n.Generation)
		level = ok(m.super.DecodeExtentBlock(seed, level.Depth()-1, ok(m.store.home(rear))(t)))(t)
	}
	return node, rear
}

// TestTruncate_Stopped: an error stops a truncate half-way. What it left behind the end of the file never shows again,
// and the next change of the file, or the unmount, goes on with it.
func TestTruncate_Stopped(t *testing.T) {
	size := func(v uint64) Attr { return Attr{Size: &v} }
	for name, grow := range map[string]func(m *memFS, node Node) error{
		"write": func(m *memFS, node Node) error {
			_, err := m.Write(Cred{}, node, 595<<10, []byte("end"), false)
			return err
		},
		"truncate": func(m *memFS, node Node) error {
			_, err := m.SetAttr(Cred{}, node, size(598<<10))
			return err
		},
		"allocate": func(m *memFS, node Node) error { return m.Allocate(Cred{}, node, 520<<10, 70<<10, false) },
		"unmount":  func(*memFS, Node) error { return nil },
		"unlink": func(m *memFS, node Node) error {
			if m.lookup(Root, "f") != 0 {
				m.unlinkOpen(Root, node, "f")
			}
			return m.Evict(node)
		},
	} {
		for _, form := range []string{"1k", "ext3"} {
			if form == "ext3" && name == "allocate" {
				continue
			}
			t.Run(fmt.Sprint(name, " ", form), func(t *testing.T) {
				m := openMem(t, form)
				node, rear := scattered(t, m, "f")
				m.store.bad = map[block.Number]bool{rear: true}
				_, err := m.SetAttr(Cred{}, node, size(1<<10))
				is(t, "truncate", err, errMedium)
				if n := m.stat(node); n.Size != 1<<10 {
					t.Fatalf("the size is %d", n.Size)
				}
				if name != "unmount" {
					is(t, name+" before the medium is well", grow(m, node), errMedium)
				}
				m.store.bad = nil
				is(t, name, grow(m, node), nil)
				if name != "unlink" {
					for i, b := range m.read(node)[1<<10:] {
						if b != 0 && i < 594<<10 {
							t.Fatalf("byte %d is %d: it was cut off", i+1<<10, b)
						}
					}
				}
				m.check()
				if len(m.orphans.now) > 0 {
					t.Errorf("orphans are left: %v", m.orphans.now)
				}
			})
		}
	}
}

// TestTruncate_Meanwhile: a file is cut shorter in two transactions while another operation makes it longer. Whichever
// comes first, nothing shows that was cut off.
func TestTruncate_Meanwhile(t *testing.T) {
	for name, grow := range map[string]func(m *memFS, node Node) error{
		"write": func(m *memFS, node Node) error {
			_, err := m.Write(Cred{}, node, 610<<10, []byte("end"), false)
			return err
		},
		"allocate": func(m *memFS, node Node) error { return m.Allocate(Cred{}, node, 620<<10, 1<<10, false) },
	} {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "1k")
			node, _ := scattered(t, m, "f")
			size := uint64(1 << 10)
			m.store.between = func() {
				is(t, "the first transaction of a truncate", m.do(opSetattr, Cred{}, func(o *op) error {
					n, err := o.inode(node)
					if err == nil {
						_, err = o.truncate(n, size)
					}
					return err
				}), nil)
			}
			is(t, name, grow(m, node), nil)
			is(t, "the rest", m.finishTruncate(node.Ino()), nil)
			for i, b := range m.read(node)[size:] {
				if b != 0 && i < 600<<10 {
					t.Fatalf("byte %d is %d: it was cut off", uint64(i)+size, b)
				}
			}
			m.check()
		})
	}
}
