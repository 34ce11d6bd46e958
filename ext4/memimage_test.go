package ext4

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// memForms are the forms of images that tests write to: size, and the options of mke2fs. Those without
// "journal" in their name have none, which leaves more room; a storage in memory needs none.
var memForms = map[string]string{
	"1k":          "8M -t ext4 -b 1024 -O ^has_journal",
	"4k":          "16M -t ext4 -b 4096 -O ^has_journal",
	"groups":      "8M -t ext4 -b 1024 -g 1024 -N 512 -O ^has_journal",
	"no checksum": "8M -t ext4 -b 1024 -O ^has_journal,^metadata_csum,^uninit_bg",
	"uninit":      "8M -t ext4 -b 1024 -g 2048 -O ^has_journal,^metadata_csum,uninit_bg,^64bit",
	"ext3":        "8M -t ext3 -b 1024 -O ^has_journal",
	"ext3 4k":     "16M -t ext3 -b 4096 -O ^has_journal",
	"orphan file": "8M -t ext4 -b 1024 -O has_journal,orphan_file -J size=1 -E orphan_file_size=32",
	"journal":     "8M -t ext4 -b 1024 -O has_journal -J size=1",
	"linear":      "8M -t ext4 -b 1024 -O ^has_journal,^dir_index",
	"inode 128":   "8M -t ext4 -b 1024 -I 128 -O ^has_journal",
	"project":     "8M -t ext4 -b 1024 -O ^has_journal,project",
	"quota":       "8M -t ext4 -b 1024 -O ^has_journal,quota,project -E quotatype=usrquota:grpquota:prjquota",
	"quota 4k":    "16M -t ext4 -b 4096 -O ^has_journal,quota -E quotatype=usrquota",
	"quota ptrs":  "8M -t ext3 -b 1024 -O ^has_journal,quota",
	"small":       "1M -t ext4 -b 1024 -N 64 -m 0 -O ^has_journal,^resize_inode",
	"wide":        "24M -t ext4 -b 1024 -N 64 -m 0 -O ^has_journal,^resize_inode",
	"inline":      "8M -t ext4 -b 1024 -I 256 -O ^has_journal,inline_data",
	"inline 4k":   "16M -t ext4 -b 4096 -I 1024 -O ^has_journal,inline_data",
	"inline ptrs": "8M -t ext4 -b 1024 -I 256 -O ^has_journal,inline_data,^extent,^64bit,^metadata_csum",
	"values":      "8M -t ext4 -b 1024 -I 256 -O ^has_journal,ea_inode",
	"values 4k":   "16M -t ext4 -b 4096 -I 128 -O ^has_journal,ea_inode",
	"values ptrs": "8M -t ext4 -b 1024 -I 256 -O ^has_journal,ea_inode,inline_data,^extent,^64bit,^metadata_csum",
	"values quota": "8M -t ext4 -b 1024 -I 256 -O ^has_journal,ea_inode,quota,project " +
		"-E quotatype=usrquota:grpquota:prjquota",
	"bigalloc":    "24M -t ext4 -b 4096 -C 16384 -O ^has_journal,bigalloc",
	"bigalloc 1k": "24M -t ext4 -b 1024 -C 8192 -g 8192 -N 512 -O ^has_journal,bigalloc,uninit_bg",
	"bigalloc 64k": "24M -t ext4 -b 1024 -C 65536 -N 512 -O ^has_journal,bigalloc,quota,project " +
		"-E quotatype=usrquota:grpquota:prjquota",
	"small ext3": "1M -t ext3 -b 1024 -N 64 -m 0 -O ^has_journal,^resize_inode",
}

var memImages struct {
	mu sync.Mutex // guards of
	of map[string][]byte
}

// memImageOf makes an image of a form, once in a process, and returns a copy.
func memImageOf(t testing.TB, form string) []byte {
	t.Helper()
	for _, program := range []string{"mke2fs", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: install e2fsprogs", program)
		}
	}
	args := strings.Fields(memForms[form])
	if len(args) == 0 {
		t.Fatalf("no form %q", form)
	}
	m := &memImages
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[form] == nil {
		path := filepath.Join(t.TempDir(), "image")
		all := append(append([]string{"-q", "-F"}, args[1:]...), path, args[0])
		if out, err := exec.Command("mke2fs", all...).CombinedOutput(); err != nil {
			t.Fatalf("mke2fs %v: %v\n%s", all, err, out)
		}
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.of == nil {
			m.of = map[string][]byte{}
		}
		m.of[form] = p
	}
	return bytes.Clone(m.of[form])
}

// memFS is a file system that is open for writing over a storage in memory.
type memFS struct {
	*Writable
	t     testing.TB
	store *memStore
	clock time.Time // goes on by a second with each operation
}

// openMem opens a new image of a form.
func openMem(t testing.TB, form string) *memFS {
	return openMemWith(t, memImageOf(t, form), WriteOptions{})
}

func openMemWith(t testing.TB, image []byte, o WriteOptions) *memFS {
	t.Helper()
	m := &memFS{t: t, clock: time.Now().Add(-time.Hour).Truncate(time.Second)}
	super := ok(ReadSuperblock(bytes.NewReader(image), 0))(t)
	m.store = newMemStore(image, super.BlockSize)
	o.Log = LogOverlay
	if o.Now == nil {
		o.Now = func() time.Time { m.clock = m.clock.Add(time.Second); return m.clock }
	}
	base := ok(Open(m.store.image, Options{}))(t)
	m.Writable = ok(OpenWritable(base, m.store, m.store.image, o))(t)
	m.store.seal = m.Seal
	return m
}

// sync writes everything home.
func (m *memFS) sync() {
	m.t.Helper()
	if err := m.Sync(context.Background()); err != nil {
		m.t.Fatal(err)
	}
	if m.store.broken != nil {
		m.t.Fatal(m.store.broken)
	}
}

// save writes the image to a file, as an unmount would leave it.
func (m *memFS) save() string {
	m.t.Helper()
	f, err := os.CreateTemp(m.t.TempDir(), "image")
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	p, zero := bytes.Clone(m.store.image.p), make([]byte, 64<<10)
	m.Marks().ClearRecovery(p[disk.SuperblockOffset:][:disk.SuperblockSize])
	err = f.Truncate(int64(len(p)))
	for off := 0; off < len(p) && err == nil; off += len(zero) {
		if piece := p[off:min(off+len(zero), len(p))]; !bytes.Equal(piece, zero[:len(piece)]) {
			_, err = f.WriteAt(piece, int64(off))
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return f.Name()
}

// check frees what is not in use, writes everything home, and has e2fsck and varve's own checker judge the
// image. It returns the image's file.
func (m *memFS) check() string {
	m.t.Helper()
	if err := m.EvictAll(); err != nil {
		m.t.Fatal(err)
	}
	m.sync()
	path := m.save()
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		m.t.Fatalf("e2fsck -fn: %v\n%s", err, out)
	}
	v, err := m.sealed().Check(nil)
	if err != nil || !v.Clean() {
		m.t.Fatalf("varve's own checker: %v, %+v", err, v)
	}
	m.counted()
	return path
}

// counted compares the counts in memory with the bitmaps in memory, and those with the descriptors' counts at home.
func (m *memFS) counted() {
	m.t.Helper()
	m.alloc.closeWindows()
	m.alloc.reuseFreed()
	var blocks, inodes int64
	fs := m.sealed()
	for g := range m.super.Groups() {
		gr := &m.alloc.groups[g]
		d := ok(fs.GroupDesc(g))(m.t)
		if gr.freeBlocks != int(d.FreeBlocks) || gr.freeInodes != int(d.FreeInodes) || gr.dirs != int(d.UsedDirs) {
			m.t.Fatalf("group %d: %d blocks, %d inodes free, %d directories in memory; the descriptor has %d, %d, %d",
				g, gr.freeBlocks, gr.freeInodes, gr.dirs, d.FreeBlocks, d.FreeInodes, d.UsedDirs)
		}
		blocks, inodes = blocks+int64(gr.freeBlocks), inodes+int64(gr.freeInodes)
	}
	if b, i := m.alloc.freeBlocks.Load(), m.alloc.freeInodes.Load(); b != blocks || i != inodes {
		m.t.Fatalf("%d blocks and %d inodes free by the counters, %d and %d by the groups", b, i, blocks, inodes)
	}
}

// sealed is the image at home, opened anew: its checksums are verified.
func (m *memFS) sealed() *FS {
	m.t.Helper()
	return ok(Open(m.store.image, Options{}))(m.t)
}

// reopen opens what is home as the next mount does, without an unmount before.
func (m *memFS) reopen() *memFS {
	m.t.Helper()
	return openMemWith(m.t, bytes.Clone(m.store.image.p), WriteOptions{})
}

// ok ends the test where a call has failed, and is its value otherwise.
func ok[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// is ends the test where an error is not the expected one; nil is expected too.
func is(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Fatalf("%s: %v, expected %v", what, got, want)
	}
}

func (m *memFS) make(parent Node, name string, c CreateOptions) Node {
	m.t.Helper()
	n := ok(m.Create(Cred{}, parent, name, c))(m.t)
	return NodeOf(&n)
}

func (m *memFS) mkdir(parent Node, name string) Node {
	m.t.Helper()
	return m.make(parent, name, CreateOptions{Mode: disk.ModeDir | 0o755})
}

func (m *memFS) mkfile(parent Node, name string, data []byte) Node {
	m.t.Helper()
	node := m.make(parent, name, CreateOptions{Mode: disk.ModeRegular | 0o644})
	m.write(node, 0, data)
	return node
}

func (m *memFS) write(node Node, offset int64, data []byte) {
	m.t.Helper()
	if n, err := m.Write(Cred{}, node, offset, data, false); err != nil || n != len(data) {
		m.t.Fatalf("write at %d: %d of %d bytes: %v", offset, n, len(data), err)
	}
}

func (m *memFS) unlink(parent Node, name string) {
	m.t.Helper()
	r := ok(m.Unlink(Cred{}, parent, name))(m.t)
	if r.Last {
		is(m.t, "evict "+name, m.Evict(r.Node), nil)
	}
}

// stat is an inode as the newest snapshot has it. Its mapping must not be asked.
func (m *memFS) stat(node Node) (n Inode) {
	m.t.Helper()
	is(m.t, "stat", m.View(func(fs *FS) error { return fs.ReadNode(&n, node) }), nil)
	return n
}

// lookup is the node of a name, or 0 where there is none or can be none.
func (m *memFS) lookup(parent Node, name string) (node Node) {
	m.t.Helper()
	err := m.View(func(fs *FS) error {
		var dir, n Inode
		if err := fs.ReadNode(&dir, parent); err != nil {
			return err
		}
		err := dir.LookupInto(&n, name)
		if err == nil {
			node = NodeOf(&n)
		}
		return err
	})
	if !errors.Is(err, ErrNotExist) && !errors.Is(err, ErrTooLong) {
		is(m.t, "look up "+name, err, nil)
	}
	return node
}

// names lists a directory, sorted, without its own two names.
func (m *memFS) names(parent Node) (out []string) {
	m.t.Helper()
	err := m.View(func(fs *FS) error {
		var dir Inode
		if err := fs.ReadNode(&dir, parent); err != nil {
			return err
		}
		return dir.ReadDir(0, func(e Dirent) bool {
			if s := string(e.Name); s != "." && s != ".." {
				out = append(out, s)
			}
			return true
		})
	})
	is(m.t, "list", err, nil)
	slices.Sort(out)
	return out
}

// read is the contents of a file in a file system.
func (m *memFS) read(node Node) (out []byte) {
	m.t.Helper()
	is(m.t, "read", m.View(func(fs *FS) (err error) {
		var n Inode
		if err = fs.ReadNode(&n, node); err == nil {
			out, err = contents(&n)
		}
		return err
	}), nil)
	return out
}

func contents(n *Inode) ([]byte, error) {
	out := make([]byte, n.Size)
	k, err := n.ReadAt(out, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out[:k], err
}

// eachForm runs a test on images of several forms.
func eachForm(t *testing.T, forms []string, fn func(t *testing.T, m *memFS)) {
	for _, form := range forms {
		t.Run(form, func(t *testing.T) { fn(t, openMem(t, form)) })
	}
}

// allForms are the names of all forms of images.
func allForms() (out []string) {
	for form := range memForms {
		out = append(out, form)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(a, b) })
	return out
}

// fill is length bytes that differ from place to place and from seed to seed.
func fill(seed, length int) []byte {
	out := make([]byte, length)
	for i := range out {
		out[i] = byte(i*7 + i>>8*13 + seed*31 + 1)
	}
	return out
}

// TestMemStore_Forms does a little of everything on each form of image.
func TestMemStore_Forms(t *testing.T) {
	eachForm(t, allForms(), func(t *testing.T, m *memFS) {
		dir := m.mkdir(Root, "dir")
		for i := range 40 {
			m.mkfile(dir, fmt.Sprintf("file %02d", i), fill(i, 1500*(i%3)))
		}
		for i := range 20 {
			m.unlink(dir, fmt.Sprintf("file %02d", 2*i))
		}
		m.check()
		next := m.reopen()
		if got := next.names(dir); len(got) != 20 {
			t.Fatalf("%d names after the image was opened again: %q", len(got), got)
		}
		for i := range 20 {
			name := fmt.Sprintf("file %02d", 2*i+1)
			if got, want := next.read(next.lookup(dir, name)), fill(2*i+1, 1500*((2*i+1)%3)); !bytes.Equal(got, want) {
				t.Fatalf("%s has other contents", name)
			}
		}
	})
}

// TestMemStore_Conflict runs one transaction between another and its commit: the storage must find what does
// not stand, or the tests that rely on it prove nothing.
func TestMemStore_Conflict(t *testing.T) {
	m := openMem(t, "1k")
	dir := m.mkdir(Root, "dir")
	m.store.between = func() { m.mkfile(dir, "same", nil) }
	_, err := m.Create(Cred{}, dir, "same", CreateOptions{Mode: disk.ModeRegular})
	is(t, "a name that came meanwhile", err, ErrExists)
	m.store.between = func() { m.mkfile(dir, "first", nil) }
	m.mkfile(dir, "second", nil)
	if got := m.names(dir); !slices.Equal(got, []string{"first", "same", "second"}) {
		t.Fatalf("two names at a time: %q", got)
	}
	s := m.Operations()[opCreate]
	if s.Name != "create" || s.Merged == 0 || s.Failed != 1 {
		t.Fatalf("statistics: %+v", s)
	}
	m.check()
}

// exhaust allocates every block that users may have to a file.
func (m *memFS) exhaust() Node {
	m.t.Helper()
	node := m.mkfile(Root, "everything", nil)
	if _, err := m.Write(Cred{}, node, 0, make([]byte, len(m.store.image.p)), false); !errors.Is(err, ErrNoSpace) {
		m.t.Fatalf("write as much as the image is long: %v", err)
	}
	return node
}
