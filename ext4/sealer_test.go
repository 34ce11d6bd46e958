package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// sealedTree makes one block of each kind, seals them, and returns where they are.
func sealedTree(t *testing.T) (m *memFS, blocks map[string]block.Number) {
	m = openMem(t, "orphan file")
	blocks = map[string]block.Number{}
	small, large := m.mkdir(Root, "small"), m.mkdir(Root, "large")
	m.mkfile(small, "f", nil)
	for i := range 400 { // an index of two levels would need many more: one root, and leaves
		m.mkfile(large, fmt.Sprintf("a name that is rather long, so that blocks are full soon %04d", i), nil)
	}
	file := m.mkfile(Root, "file", nil)
	for at := range 8 {
		m.write(file, int64(at)*2048, fill(at, 1024))
	}
	m.setXattr(file, "user.large", fill(1, 600))
	m.unlinkOpen(Root, m.mkfile(Root, "open", nil), "open")
	m.sync()
	at := func(node Node, b FileBlock) block.Number {
		var out block.Number
		is(t, "map", m.View(func(fs *FS) error {
			var n Inode
			if err := fs.ReadNode(&n, node); err != nil {
				return err
			}
			r, err := n.Map(b)
			out = r.Start
			return err
		}), nil)
		return out
	}
	blocks["directory"] = at(small, 0)
	blocks["root of a hash tree"] = at(large, 0)
	blocks["leaf of a hash tree"] = at(large, 1)
	n := m.stat(file)
	root := extNode{p: n.Block}
	if root.depth() != 1 {
		t.Fatalf("the tree of extents has depth %d", root.depth())
	}
	blocks["extents"] = block.Number(uint64(n.Block[16]) | uint64(n.Block[17])<<8 | uint64(n.Block[18])<<16)
	blocks["attributes"] = n.FileACL
	blocks["orphan file"] = m.sealer.orphanBlocks[0]
	g, nth, _ := m.super.InodeBlock(file.Ino())
	blocks["inodes"] = ok(m.base.inodeTable(g))(t) + nth
	d := ok(m.base.GroupDesc(0))(t)
	blocks["block bitmap"], blocks["inode bitmap"] = d.BlockBitmap, d.InodeBitmap
	blocks["descriptors"], _ = m.super.DescBlock(0)
	blocks["superblock"] = 1
	return m, blocks
}

// unlinkOpen removes the last name of a file that is open.
func (m *memFS) unlinkOpen(parent, node Node, name string) {
	m.t.Helper()
	if r := ok(m.Unlink(Cred{}, parent, name))(m.t); !r.Last || r.Node != node {
		m.t.Fatalf("%s is not the last name: %+v", name, r)
	}
}

// TestSeal_Kinds changes a byte of each kind of block that Seal completes: its checksum must be one that a reader
// checks.
func TestSeal_Kinds(t *testing.T) {
	m, blocks := sealedTree(t)
	image := m.store.image.p
	check := func(p []byte) error {
		fs, err := Open(bytes.NewReader(p), Options{})
		if err != nil {
			return err
		}
		report, err := fs.Check(nil)
		if err != nil {
			return err
		}
		for _, problem := range report.Problems {
			if strings.Contains(fmt.Sprint(problem), "checksum") {
				return fmt.Errorf("%w: %v", ondisk.ErrCorrupt, problem)
			}
		}
		return nil
	}
	is(t, "what Seal made", check(image), nil)
	for name, n := range blocks {
		off := map[string]int{"superblock": 0x78, "inodes": int(slotOffset(m, "file")) + 8, "descriptors": 8, "extents": 14,
			"attributes": 1000, "orphan file": 100, "block bitmap": 900, "inode bitmap": 10, "directory": 40,
			"root of a hash tree": 0x24, "leaf of a hash tree": 40}[name]
		p := bytes.Clone(image)
		p[int(n)*1024+off] ^= 0x10
		if err := check(p); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("a changed byte of %s (block %d) goes unnoticed: %v", name, n, err)
		}
	}
}

func slotOffset(m *memFS, name string) int64 {
	_, _, off := m.super.InodeBlock(m.lookup(Root, name).Ino())
	return int64(off)
}

// TestSeal_Counts compares the sealed counts of descriptors and superblock with what e2fsck counts.
func TestSeal_Counts(t *testing.T) {
	eachForm(t, []string{"1k", "groups", "uninit", "no checksum", "orphan file"}, func(t *testing.T, m *memFS) {
		before := m.sealed()
		for i := range 30 {
			m.mkfile(m.mkdir(Root, fmt.Sprint("d", i)), "f", fill(i, 5000))
		}
		m.check()
		after := m.sealed()
		s, old := after.Superblock(), before.Superblock()
		if s.FreeInodes+60 != old.FreeInodes || s.FreeBlocks >= old.FreeBlocks {
			t.Errorf(
				"%d blocks and %d inodes are free, %d and %d before",
				s.FreeBlocks,
				s.FreeInodes,
				old.FreeBlocks,
				old.FreeInodes,
			)
		}
		var blocks, inodes, dirs uint64
		for g := range s.Groups() {
			d := ok(after.GroupDesc(g))(t)
			blocks, inodes, dirs = blocks+uint64(d.FreeBlocks), inodes+uint64(d.FreeInodes), dirs+uint64(d.UsedDirs)
			is(t, "descriptor", func() error {
				n, off := s.DescBlock(g)
				p, err := after.block(n)
				if err != nil {
					return err
				}
				return s.CheckGroupDesc(g, p[off:])
			}(), nil)
		}
		if blocks != s.FreeBlocks || inodes != uint64(s.FreeInodes) || dirs != 32 {
			t.Errorf(
				"descriptors have %d blocks, %d inodes, %d directories; the superblock %d and %d",
				blocks,
				inodes,
				dirs,
				s.FreeBlocks,
				s.FreeInodes,
			)
		}
	})
}

// TestSeal_Error: an epoch whose blocks cannot be read is not sealed, and its orphans stay to be sealed.
func TestSeal_Error(t *testing.T) {
	m := openMem(t, "1k")
	m.unlinkOpen(Root, m.mkfile(Root, "f", nil), "f")
	broken := errors.New("the device is gone")
	for _, at := range []int{0, 1, 2, 5} { // the image that fails
		is(
			t,
			fmt.Sprint("image ", at),
			m.Seal(&failingEpoch{memEpoch{m.store, map[block.Number][]byte{}}, at, broken}),
			broken,
		)
	}
	if len(m.orphans.form.relinked) == 0 {
		t.Error("the orphan is taken for sealed")
	}
	m.sync()
	if got := m.sealed().Superblock().LastOrphan; got == 0 {
		t.Error("the list of orphans is empty")
	}
	m.check()
}

// failingEpoch fails at its nth image.
type failingEpoch struct {
	memEpoch
	after int
	err   error
}

func (e *failingEpoch) Image(n block.Number) ([]byte, error) {
	if e.after--; e.after < 0 {
		return nil, e.err
	}
	return e.memEpoch.Image(n)
}

// TestSuperblock_Marks: the superblock says that a file system is mounted, then that it is clean; both by e2fsprogs.
func TestSuperblock_Marks(t *testing.T) {
	if _, err := exec.LookPath("dumpe2fs"); err != nil {
		t.Fatal("dumpe2fs is missing: install e2fsprogs")
	}
	m := openMem(t, "journal")
	m.opts.Log = LogOwn
	features := func() string {
		path := filepath.Join(t.TempDir(), "image")
		is(t, "write", os.WriteFile(path, m.store.image.p, 0o600), nil)
		out, err := exec.Command("dumpe2fs", "-h", path).CombinedOutput()
		is(t, "dumpe2fs", err, nil)
		return string(out)
	}
	p := m.store.image.p[disk.SuperblockOffset:][:disk.SuperblockSize]
	m.Marks().MarkMounted(p, m.opts.Now())
	if out := features(); !strings.Contains(out, "needs_recovery") ||
		!strings.Contains(out, "Mount count:              1") {
		t.Errorf("mounted: %s", out)
	}
	m.Marks().ClearRecovery(p)
	if out := features(); strings.Contains(out, "needs_recovery") ||
		!strings.Contains(out, "Filesystem state:         clean") {
		t.Errorf("clean: %s", out)
	}
}
