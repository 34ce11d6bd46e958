package ext4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
)

const goldenBlock = 1024

// goldenImage is an image without checksums, so that damage reaches the code behind them. Its inode table is at block
// 35.
func goldenImage(t testing.TB) blockcache.Memory {
	t.Helper()
	p, err := os.ReadFile(gunzip(t, "../ondisk/ext4/testdata/plain.img.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// damaged is a golden image with tools to break it.
type damaged struct {
	t    *testing.T
	p    blockcache.Memory
	fsys *ext4.FS
}

func newDamaged(t *testing.T) *damaged {
	d := &damaged{t: t, p: goldenImage(t)}
	d.open()
	return d
}

func (d *damaged) open() {
	d.t.Helper()
	var err error
	if d.fsys, err = ext4.Open(d.p, ext4.Options{}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *damaged) find(path string) *ext4.Inode {
	d.t.Helper()
	n, err := d.fsys.Resolve(path, false)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// slot is where an inode lies.
func (d *damaged) slot(ino ext4.Ino) []byte {
	_, nth, offset := d.fsys.Superblock().InodeBlock(ino)
	desc, err := d.fsys.GroupDesc(0)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.p[int(desc.InodeTable+nth)*goldenBlock+offset:]
}

// block is where block b of a file lies.
func (d *damaged) block(n *ext4.Inode, b ext4.FileBlock) []byte {
	d.t.Helper()
	run, err := n.Map(b)
	if err != nil || run.Kind != ext4.Data {
		d.t.Fatalf("%+v, %v", run, err)
	}
	return d.p[int(run.Start)*goldenBlock:][:goldenBlock]
}

func (d *damaged) entry(dir, name string) []byte {
	d.t.Helper()
	p := d.block(d.find(dir), 0)
	i := bytes.Index(p, append([]byte{byte(len(name))}, append([]byte{fileType(p, name)}, name...)...))
	if i < 0 {
		d.t.Fatalf("no entry %s", name)
	}
	return p[i-6:]
}

// fileType is the type byte in front of a name in a directory block.
func fileType(p []byte, name string) byte {
	return p[bytes.Index(p, []byte(name))-1]
}

// TestDamage_Structures breaks one structure at a time. Reading what depends on it is an error that says what and
// where, the rest stays readable, and nothing hangs.
func TestDamage_Structures(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name  string
		broke func(d *damaged)
		path  string // what no longer reads
		says  string
	}{
		{"extent tree that points at itself", func(d *damaged) {
			n := d.find("extents")
			leaf := le.Uint32(n.Block[16:])
			p := d.p[int(leaf)*goldenBlock:]
			le.PutUint16(p[6:], 1) // an inner node now
			le.PutUint32(p[16:], leaf)
		}, "extents", "depth"},
		{"extent index past the end", func(d *damaged) {
			le.PutUint32(d.slot(d.find("extents").Ino)[0x28+16:], 1<<30)
		}, "extents", "past the image's"},
		{"extent past the end", func(d *damaged) { le.PutUint32(d.slot(d.find("file").Ino)[0x28+20:], 1<<30) },
			"file", "past the image's"},
		{"extents that overlap", func(d *damaged) {
			n := d.find("extents")
			p := d.p[int(le.Uint32(n.Block[16:]))*goldenBlock:]
			le.PutUint16(p[12+4:], 30)
		}, "extents", "overlap"},
		{"more entries than an extent node holds",
			func(d *damaged) { le.PutUint16(d.slot(d.find("file").Ino)[0x28+2:], 9) }, "file", "entries"},
		{"directory larger than the image", func(d *damaged) {
			le.PutUint32(d.slot(d.find("indexed").Ino)[4:], 1<<31)
		}, "indexed", "directory of"},
		{"inode without a type", func(d *damaged) { le.PutUint16(d.slot(d.find("file").Ino), 0o644) }, "file",
			"no file type"},
		{"entry of a free inode", func(d *damaged) { clear(d.slot(d.find("link").Ino)[:256]) }, "link", "free inode"},
		{"entry of a reserved inode", func(d *damaged) { le.PutUint32(d.entry("/", "link"), 7) }, "link", "reserved inode"},
		{"entry of no inode", func(d *damaged) { le.PutUint32(d.entry("/", "link"), 9999) }, "", ""},
		{"name with a slash", func(d *damaged) { d.entry("/", "link")[9] = '/' }, "", ""},
		{"record of length 0", func(d *damaged) { le.PutUint16(d.entry("/", "link")[4:], 0) }, "", ""},
		{"hash tree that points at its root", func(d *damaged) {
			p := d.block(d.find("indexed"), 0)
			for at := 0x24; at < 0x24+8*4; at += 8 {
				le.PutUint32(p[at:], 0)
			}
		}, "", "(none)"},
		{"hash tree that points past its end", func(d *damaged) {
			p := d.block(d.find("indexed"), 0)
			for at := 0x24; at < 0x24+8*4; at += 8 {
				le.PutUint32(p[at:], 1000)
			}
		}, "", "(none)"},
		{"attribute block past the end", func(d *damaged) { le.PutUint32(d.slot(d.find("file").Ino)[0x68:], 1<<30) }, "", ""},
		{"inode table over the superblock", func(d *damaged) { le.PutUint32(d.p[2*goldenBlock+8:], 1) }, "file", ""},
		{"inode table past the end", func(d *damaged) { le.PutUint32(d.p[2*goldenBlock+8:], 1020) }, "file", "inode table"},
		{"symlink longer than an inode", func(d *damaged) { le.PutUint32(d.slot(d.find("link").Ino)[4:], 4000) },
			"link", "symlink"},
		{"indirect block past the end", func(d *damaged) {
			s := d.slot(d.find("file").Ino)
			le.PutUint32(s[0x20:], 0) // no extents
			le.PutUint32(s[4:], 1<<20)
			for at := 0x28; at < 0x64; at += 4 {
				le.PutUint32(s[at:], 1<<30)
			}
		}, "file", "past the image's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDamaged(t)
			c.broke(d)
			d.open()
			_, failed := walkAll(t, d.fsys, 8<<20)
			if (failed == 0) != (c.says == "(none)") { // a directory is read by its blocks where its tree is damaged
				t.Errorf("%d reads failed", failed)
			}
			if c.path == "" {
				return
			}
			err := readPath(d.fsys, c.path)
			if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, expected an error that says %q", c.path, err, c.says)
			}
		})
	}
}

// readPath reads all that a path leads to.
func readPath(fsys *ext4.FS, path string) error {
	n, err := fsys.Resolve(path, false)
	if err != nil {
		return err
	}
	switch {
	case n.IsDir():
		return n.ReadDir(0, func(ext4.Dirent) bool { return true })
	case n.IsSymlink():
		_, err = n.Readlink()
	default:
		_, err = io.Copy(io.Discard, io.NewSectionReader(n, 0, int64(n.Size)))
	}
	return err
}

// TestDamage_DirectoryLoop ends, although a directory has an entry that leads back to its parent.
func TestDamage_DirectoryLoop(t *testing.T) {
	d := newDamaged(t)
	copyName := d.entry("/", "link")
	binary.LittleEndian.PutUint32(copyName, uint32(ext4.RootIno))
	d.open()
	nodes, _ := walkAll(t, d.fsys, 1<<20)
	if nodes > 1000 {
		t.Errorf("%d nodes were visited", nodes)
	}
}

// TestDamage_RestOfDirectory lists the names beside a damaged block, and then gives the error, also in parts.
func TestDamage_RestOfDirectory(t *testing.T) {
	d := newDamaged(t)
	whole := 0
	dir := d.find("indexed")
	fatal(t, dir.ReadDir(0, func(ext4.Dirent) bool { whole++; return true }))
	binary.LittleEndian.PutUint16(d.block(dir, 1)[4:], 3)
	d.open()
	dir = d.find("indexed")
	seen := map[string]bool{}
	err := dir.ReadDir(0, func(e ext4.Dirent) bool { seen[string(e.Name)] = true; return true })
	if !errors.Is(err, ondisk.ErrCorrupt) || len(seen) < 10 || len(seen) >= whole {
		t.Errorf("%d of %d names, %v", len(seen), whole, err)
	}
	parts, position := 0, int64(0)
	for {
		got := 0
		err = dir.ReadDir(position, func(e ext4.Dirent) bool {
			position = e.Next
			got++
			return got < 3
		})
		parts += got
		if got == 0 {
			break
		}
	}
	if !errors.Is(err, ondisk.ErrCorrupt) || parts != len(seen) {
		t.Errorf("in parts: %d of %d names, %v", parts, len(seen), err)
	}
}

// TestDamage_Memory reads files that claim to be enormous, and stays small.
func TestDamage_Memory(t *testing.T) {
	d := newDamaged(t)
	s := d.slot(d.find("file").Ino)
	binary.LittleEndian.PutUint32(s[0x6c:], 1<<28) // 1 EiB
	d.open()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := d.find("file")
	if _, err := n.ReadAt(make([]byte, 100), 1<<59); err == nil {
		t.Error("a byte past what can be mapped was read")
	}
	if at, err := n.SeekData(1 << 20); err == nil {
		t.Errorf("data at %d", at)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

// TestDamage_DeviceErrors passes on the errors of the device.
func TestDamage_DeviceErrors(t *testing.T) {
	broken := errors.New("medium error")
	d := newDamaged(t)
	file, err := d.find("file").Map(0)
	fatal(t, err)
	fsys, err := ext4.Open(failing{d.p, int64(file.Start) * goldenBlock, broken}, ext4.Options{})
	fatal(t, err)
	if err := readPath(fsys, "file"); !errors.Is(err, broken) {
		t.Errorf("reading gives %v", err)
	}
	if err := readPath(fsys, "extents"); err != nil {
		t.Errorf("the rest gives %v", err)
	}
}

// failing is a device with one broken block.
type failing struct {
	io.ReaderAt
	at  int64
	err error
}

func (f failing) ReadAt(p []byte, at int64) (int, error) {
	if at <= f.at && f.at < at+int64(len(p)) {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, at)
}

// FuzzImage opens a real image with changed metadata, and walks all of it.
func FuzzImage(f *testing.F) {
	plain := goldenImage(f)
	dirty, err := os.ReadFile(gunzip(f, filepath.Join("testdata", "dirty.img.gz")))
	if err != nil {
		f.Fatal(err)
	}
	images := []blockcache.Memory{plain, dirty}
	f.Add(uint8(0), []byte{0, 140, 0, 255})
	f.Add(uint8(1), []byte{0, 4, 96, 4})
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		p := bytes.Clone(images[int(which)%len(images)])
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int(changes[0])<<16 | int(changes[1])<<8 | int(changes[2])
			p[at%len(p)] = changes[3]
		}
		fsys, err := ext4.Open(blockcache.Memory(p), ext4.Options{})
		if err == nil {
			walkAll(t, fsys, 1<<20)
		}
	})
}
