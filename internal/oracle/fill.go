package oracle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Filling selects the contents of a tree for comparison.
type Filling struct {
	Wide   int  // entries of the widest directory
	Xattrs bool // extended attributes and ACLs
	Large  bool // an attribute larger than a block (ea_inode)
	Trees  bool // files in many extents
	Old    bool // no times past 2038 or to the nanosecond, 16-bit ids
}

// Fill makes a tree that holds every file type and every oddity that the format has a form of its own for.
func Fill(t testing.TB, root string, f Filling) {
	t.Helper()
	fl := &filler{t: t, root: root, rand: rand.New(rand.NewPCG(1, 2))}
	fl.types()
	fl.contents()
	fl.directories(f.Wide)
	if f.Trees {
		fl.fragments()
	}
	if f.Xattrs {
		fl.xattrs(f.Large)
	}
	fl.owners(f.Old)
	fl.times(f.Old)
}

type filler struct {
	t    testing.TB
	root string
	rand *rand.Rand
}

func (f *filler) at(parts ...string) string {
	return filepath.Join(append([]string{f.root}, parts...)...)
}

func (f *filler) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *filler) bytes(n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := f.rand.Uint64()
		for j := i; j < min(i+8, n); j++ {
			p[j] = byte(v)
			v >>= 8
		}
	}
	return p
}

func (f *filler) types() {
	f.must(os.Mkdir(f.at("types"), 0o755))
	f.must(unix.Mknod(f.at("types", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	f.must(unix.Mknod(f.at("types", "large-minor"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))))
	f.must(unix.Mknod(f.at("types", "fifo"), unix.S_IFIFO|0o640, 0))
	// The path of a socket is limited to 108 bytes.
	types, err := os.Open(f.at("types"))
	f.must(err)
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/socket", types.Fd()))
	f.must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f.must(l.Close())
	f.must(types.Close())
	f.must(os.Symlink("short", f.at("types", "fast-link")))
	f.must(os.Symlink(strings.Repeat("x", 59), f.at("types", "link-of-59")))
	f.must(os.Symlink(strings.Repeat("y", 60), f.at("types", "link-of-60")))
	f.must(os.Symlink("/"+strings.Repeat("long/", 180)+"z", f.at("types", "slow-link")))
	f.must(os.WriteFile(f.at("types", "setuid"), []byte("#!"), 0o755))
	f.must(unix.Chmod(f.at("types", "setuid"), 0o6755))
	f.must(os.Mkdir(f.at("types", "sticky"), 0o777))
	f.must(unix.Chmod(f.at("types", "sticky"), 0o1777))
}

func (f *filler) contents() {
	f.must(os.Mkdir(f.at("files"), 0o755))
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 1023, 1024, 4095, 4096, 4097, 70000} {
		f.must(os.WriteFile(f.at("files", fmt.Sprint("of-", n)), f.bytes(n), 0o644))
	}
	f.must(os.WriteFile(f.at("files", "megabyte"), f.bytes(1<<20), 0o600))
	f.must(os.WriteFile(f.at("files", "linked"), f.bytes(500), 0o644))
	f.must(os.Mkdir(f.at("files", "links"), 0o755))
	for i := range 64 {
		f.must(os.Link(f.at("files", "linked"), f.at("files", "links", fmt.Sprint(i))))
	}
	f.holes()
}

// holes makes files with holes at the start, in the middle and at the end, far enough apart for triple indirection
// with blocks of 1 KiB, and one with allocated blocks that were never written.
func (f *filler) holes() {
	sparse, err := os.Create(f.at("files", "sparse"))
	f.must(err)
	for _, at := range []int64{8192, 20000, 300 << 10, 3 << 20, 70 << 20} {
		_, err = sparse.WriteAt(f.bytes(5000), at)
		f.must(err)
	}
	f.must(sparse.Truncate(71 << 20))
	f.must(sparse.Close())
	reserved, err := os.Create(f.at("files", "unwritten"))
	f.must(err)
	if err := unix.Fallocate(int(reserved.Fd()), 0, 0, 256<<10); err == nil {
		_, err = reserved.WriteAt(f.bytes(3000), 64<<10)
		f.must(err)
		f.must(unix.Fallocate(int(reserved.Fd()), unix.FALLOC_FL_KEEP_SIZE, 256<<10, 64<<10))
	}
	f.must(reserved.Close())
}

func (f *filler) directories(wide int) {
	deep := f.root
	for i := range 40 {
		deep = filepath.Join(deep, fmt.Sprint("level", i))
	}
	f.must(os.MkdirAll(deep, 0o755))
	f.must(os.WriteFile(filepath.Join(deep, "bottom"), []byte("deep"), 0o644))
	f.must(os.Mkdir(f.at("wide"), 0o755))
	for i := range wide {
		f.must(os.WriteFile(f.at("wide", fmt.Sprintf("entry-%06d-%s", i, strings.Repeat("n", i%200))), nil, 0o644))
	}
	for i := 0; i < wide; i += 7 { // holes in blocks, and freed inodes
		f.must(os.Remove(f.at("wide", fmt.Sprintf("entry-%06d-%s", i, strings.Repeat("n", i%200)))))
	}
	f.must(os.Mkdir(f.at("umlauts"), 0o755))
	for i := range wide / 4 {
		f.must(os.WriteFile(f.at("umlauts", fmt.Sprintf("ünïcödé-%d-ÿ", i)), nil, 0o644))
	}
	f.must(os.Mkdir(f.at("names"), 0o755))
	for _, name := range []string{strings.Repeat("l", 255), "with space", "new\nline", "ümläut", "\xff\xfe", "日本語", "-rf",
		"a\\b"} {
		f.must(os.WriteFile(f.at("names", name), []byte(name), 0o644))
	}
	for i := range 70 {
		f.must(os.MkdirAll(f.at("subdirs", fmt.Sprint(i)), 0o755))
	}
}

// fragments makes a file with several hundred extents, so that its tree has levels.
func (f *filler) fragments() {
	file, err := os.Create(f.at("files", "fragmented"))
	f.must(err)
	block := f.bytes(4096)
	for i := range int64(1500) {
		_, err = file.WriteAt(block, i*2*4096)
		f.must(err)
	}
	f.must(file.Sync())
	f.must(file.Close())
}

func (f *filler) xattrs(large bool) {
	f.must(os.Mkdir(f.at("xattrs"), 0o755))
	set := func(file, name string, value []byte) {
		f.t.Helper()
		if err := unix.Lsetxattr(f.at("xattrs", file), name, value, 0); err != nil {
			f.t.Fatalf("%s of %s: %v", name, file, err)
		}
	}
	for _, file := range []string{"small", "block", "shared1", "shared2", "acl", "empty", "many"} {
		f.must(os.WriteFile(f.at("xattrs", file), []byte(file), 0o644))
	}
	f.must(os.Mkdir(f.at("xattrs", "dir"), 0o755))
	f.must(os.Symlink("nowhere", f.at("xattrs", "link")))
	set("small", "user.note", []byte("in the inode"))
	set("empty", "user.empty", nil)
	set("block", "user.big", f.bytes(700))
	set("block", "trusted.t", []byte("for root"))
	set("link", "trusted.on-a-link", []byte("t"))
	set("small", "security.label", []byte("s"))
	for _, file := range []string{"shared1", "shared2"} {
		set(file, "user.same", bytes.Repeat([]byte("s"), 600))
	}
	for i := range 10 {
		set("many", fmt.Sprint("user.attr", i), f.bytes(i*5))
	}
	if large {
		set("many", "user.large", f.bytes(20000))
		set("shared1", "user.large", bytes.Repeat([]byte("L"), 9000))
	}
	MustRun(f.t, "setfacl", "-m", "u:1000:rw,g:1001:r,m::rwx", f.at("xattrs", "acl"))
	MustRun(f.t, "setfacl", "-m", "d:u:1002:rwx,u:1000:r-x", f.at("xattrs", "dir"))
	f.must(os.WriteFile(f.at("xattrs", "dir", "inherits"), nil, 0o644))
}

func (f *filler) owners(old bool) {
	f.must(os.Lchown(f.at("files", "of-100"), 1000, 1000))
	f.must(os.Lchown(f.at("types", "fast-link"), 7, 8))
	if !old {
		f.must(os.Lchown(f.at("files", "of-150"), 1<<20+5, 1<<31))
	}
}

func (f *filler) times(old bool) {
	set := func(file string, sec, nsec int64) {
		ts := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec + 1, Nsec: nsec}}
		f.must(unix.UtimesNanoAt(unix.AT_FDCWD, f.at("files", file), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	set("of-0", 0, 0)
	set("of-1", time.Date(1950, 1, 2, 3, 4, 5, 0, time.UTC).Unix(), 0)
	if old {
		return
	}
	set("of-59", time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC).Unix(), 123456789)
	set("of-60", time.Date(2300, 1, 2, 3, 4, 5, 0, time.UTC).Unix(), 999999999)
	set("of-61", time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC).Unix(), 1)
}
