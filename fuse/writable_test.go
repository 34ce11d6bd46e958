package fuse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func (w *wire) attr(node uint64) gofuse.Attr {
	w.t.Helper()
	return decode[gofuse.AttrOut](w.t, w.must(wireGetAttr, gofuse.GetAttrIn{InHeader: head(node)})).Attr
}

// setAttr is a SETATTR: which fields of in count is in.Valid.
func setAttr(node uint64, in gofuse.SetAttrInCommon) gofuse.SetAttrInCommon {
	in.InHeader = head(node)
	return in
}

// TestWire_Names makes, finds, links, renames and removes names.
func TestWire_Names(t *testing.T) {
	w := newWired(t, Options{})
	d := w.mkdir(1, "d")
	f := w.create(d, "f")
	if e := w.lookup(d, "f"); e.NodeId != f || e.Attr.Mode != syscall.S_IFREG|0o644 || e.Attr.Nlink != 1 {
		t.Errorf("the file is %+v", e)
	}
	if e := w.lookup(d, "none"); e.NodeId != 0 || e.EntryValid == 0 {
		t.Errorf("a name that is not there may be remembered: %+v", e)
	}
	w.refused(syscall.ENAMETOOLONG, wireLookup, d, name(strings.Repeat("n", 256)))
	w.refused(syscall.ENOTDIR, wireLookup, f, name("x"))
	w.refused(syscall.EEXIST, wireMkdir, gofuse.MkdirIn{InHeader: head(1), Mode: 0o755}, name("d"))
	w.refused(syscall.ENAMETOOLONG, wireMkdir, gofuse.MkdirIn{InHeader: head(1)}, name(strings.Repeat("n", 256)))

	l := decode[gofuse.EntryOut](t, w.must(wireLink, gofuse.LinkIn{InHeader: head(1), Oldnodeid: f}, name("l")))
	if l.NodeId != f || l.Attr.Nlink != 2 {
		t.Errorf("a link is %+v", l)
	}
	w.refused(syscall.EPERM, wireLink, gofuse.LinkIn{InHeader: head(1), Oldnodeid: d}, name("dir"))
	s := decode[gofuse.EntryOut](t, w.must(wireSymlink, uint64(1), name("s"), name("the target")))
	if got := w.must(wireReadlink, s.NodeId); string(got) != "the target" || s.Attr.Mode != syscall.S_IFLNK|0o777 {
		t.Errorf("a symlink to %q of mode 0%o", got, s.Attr.Mode)
	}
	p := decode[gofuse.EntryOut](
		t,
		w.must(wireMknod, gofuse.MknodIn{InHeader: head(1), Mode: syscall.S_IFBLK | 0o666, Umask: 0o022,
			Rdev: rdev(300, 70000)}, name("p")),
	)
	if p.Attr.Mode != syscall.S_IFBLK|0o644 || p.Attr.Rdev != rdev(300, 70000) {
		t.Errorf("a device 0x%x of mode 0%o", p.Attr.Rdev, p.Attr.Mode)
	}

	rename := func(flags uint32) gofuse.RenameIn { return gofuse.RenameIn{InHeader: head(1), Newdir: d, Flags: flags} }
	w.refused(syscall.EEXIST, wireRename, rename(1), name("l"), name("f"))
	w.refused(syscall.EINVAL, wireRename, rename(8), name("l"), name("g"))
	w.refused(syscall.ENOENT, wireRename, rename(2), name("l"), name("g"))
	w.must(wireRename, rename(2), name("s"), name("f"))
	if w.lookup(d, "f").NodeId != s.NodeId || w.lookup(1, "s").NodeId != f {
		t.Error("an exchange did not")
	}
	w.must(wireRename, rename(0), name("s"), name("f"))

	w.refused(syscall.EISDIR, wireUnlink, uint64(1), name("d"))
	w.refused(syscall.ENOTEMPTY, wireRmdir, uint64(1), name("d"))
	w.refused(syscall.ENOTDIR, wireRmdir, d, name("f"))
	w.refused(syscall.ENOENT, wireUnlink, d, name("none"))
	w.must(wireUnlink, d, name("f"))
	w.must(wireRmdir, uint64(1), name("d"))
	w.refused(syscall.ENOENT, wireMkdir, gofuse.MkdirIn{InHeader: head(d)}, name("late"))
	w.must(wireUnlink, uint64(1), name("l"))
	if got := w.attr(f).Nlink; got != 0 {
		t.Errorf("a file without names has %d links", got)
	}
	w.must(wireForget, gofuse.ForgetIn{InHeader: head(f), Nlookup: 100})
	w.refused(syscall.ESTALE, wireGetAttr, gofuse.GetAttrIn{InHeader: head(f)})
}

// TestWire_Contents reads, writes, seeks, copies, allocates and cuts.
func TestWire_Contents(t *testing.T) {
	w := newWired(t, Options{})
	f, g := w.create(1, "f"), w.create(1, "g")
	data := bytes.Repeat([]byte("varve "), 3000)
	if n := w.write(f, 5, data); n != uint32(len(data)) {
		t.Fatalf("%d bytes are written", n)
	}
	want := append(make([]byte, 5), data...)
	if got := w.read(f, 0, 1<<16); !bytes.Equal(got, want) {
		t.Errorf("%d bytes are read, expected %d", len(got), len(want))
	}
	if got := w.read(f, uint64(len(want)), 10); len(got) != 0 {
		t.Errorf("%d bytes behind the end", len(got))
	}
	copied := decode[gofuse.WriteOut](
		t,
		w.must(wireCopy, gofuse.CopyFileRangeIn{InHeader: head(f), OffIn: 5, NodeIdOut: g, Len: 600}),
	)
	if copied.Size != 600 || !bytes.Equal(w.read(g, 0, 1000), data[:600]) {
		t.Errorf("%d bytes are copied", copied.Size)
	}
	w.refused(syscall.EISDIR, wireCopy, gofuse.CopyFileRangeIn{InHeader: head(f), NodeIdOut: 1, Len: 600})

	allocate := func(mode uint32, offset, length uint64) gofuse.FallocateIn {
		return gofuse.FallocateIn{InHeader: head(f), Offset: offset, Length: length, Mode: mode}
	}
	w.must(wireFallocate, allocate(fallocPunchHole|fallocKeepSize, 4096, 4096))
	clear(want[4096:8192])
	w.must(wireFallocate, allocate(fallocZeroRange, 100, 50))
	clear(want[100:150])
	w.must(wireFallocate, allocate(0, 0, 40<<10))
	if got := w.read(f, 0, 1<<16); !bytes.Equal(got[:len(want)], want) || len(got) != 40<<10 {
		t.Errorf("%d bytes after fallocate", len(got))
	}
	w.refused(syscall.EOPNOTSUPP, wireFallocate, allocate(0x8, 0, 4096)) // collapse
	seek := func(whence uint32, offset uint64) uint64 {
		return decode[gofuse.LseekOut](
			t,
			w.must(wireLseek, gofuse.LseekIn{InHeader: head(f), Offset: offset, Whence: whence}),
		).Offset
	}
	const data0, hole = 3, 4
	if got := []uint64{seek(hole, 0), seek(data0, 4096), seek(hole, 8192)}; !slices.Equal(
		got,
		[]uint64{4096, 8192, 18432},
	) {
		t.Errorf("data and holes begin at %d", got)
	}
	w.refused(syscall.ENXIO, wireLseek, gofuse.LseekIn{InHeader: head(f), Offset: 1 << 30, Whence: data0})
	w.refused(syscall.EINVAL, wireLseek, gofuse.LseekIn{InHeader: head(f), Whence: 0})

	w.must(wireSetAttr, setAttr(f, gofuse.SetAttrInCommon{Valid: gofuse.FATTR_SIZE, Size: 10}))
	if got := w.read(f, 0, 100); !bytes.Equal(got, want[:10]) {
		t.Errorf("%q after it was cut", got)
	}
	w.refused(syscall.EFBIG, wireWrite, gofuse.WriteIn{InHeader: head(f), Offset: 1 << 50, Size: 1}, []byte("x"))
	w.refused(syscall.EISDIR, wireWrite, gofuse.WriteIn{InHeader: head(1), Size: 1}, []byte("x"))
	w.refused(syscall.ENOSYS, wireFlush, gofuse.FlushIn{InHeader: head(f)})
	w.must(wireRelease, gofuse.ReleaseIn{InHeader: head(f)})
	w.must(wireFsync, gofuse.FsyncIn{InHeader: head(f)})
	w.must(wireFsyncDir, gofuse.FsyncIn{InHeader: head(1)})
}

// TestWire_Attributes changes each attribute by SETATTR, extended ones, and flags by ioctl.
func TestWire_Attributes(t *testing.T) {
	w := newWired(t, Options{}, "-O", "project", "-I", "256")
	f := w.create(1, "f")
	a := decode[gofuse.AttrOut](t, w.must(wireSetAttr, setAttr(f, gofuse.SetAttrInCommon{
		Valid: gofuse.FATTR_MODE | gofuse.FATTR_UID | gofuse.FATTR_GID | gofuse.FATTR_ATIME | gofuse.FATTR_MTIME,
		Mode:  0o4751, Owner: gofuse.Owner{Uid: 70000, Gid: 80000}, Atime: 1<<64 - 5, Atimensec: 7, Mtime: 1 << 32,
		Mtimensec: 9})))
	if a.Mode != syscall.S_IFREG|0o4751 || a.Uid != 70000 || a.Gid != 80000 || int64(a.Atime) != -5 ||
		a.Atimensec != 7 ||
		a.Mtime != 1<<32 ||
		a.Mtimensec != 9 {
		t.Errorf("attributes are %+v", a.Attr)
	}
	if got := w.attr(f); got != a.Attr {
		t.Errorf("they read as %+v, were answered as %+v", got, a.Attr)
	}
	const birth = 0x800
	p := w.must(wireStatx, gofuse.StatxIn{InHeader: head(f)})
	if mask := binary.LittleEndian.Uint32(p[32:]); mask&birth == 0 {
		t.Errorf("statx has fields 0x%x, and not the time of birth", mask)
	}

	set := func(n string, value []byte, flags uint32) (gofuse.SetXAttrIn, []byte, []byte) {
		return gofuse.SetXAttrIn{InHeader: head(f), Size: uint32(len(value)), Flags: flags}, name(n), value
	}
	in, n, value := set("user.a", []byte("value"), 0)
	w.must(wireSetXattr, in, n, value)
	in, n, value = set("trusted.t", []byte("2"), 0)
	w.must(wireSetXattr, in, n, value)
	in, n, value = set("user.a", []byte("x"), ext4.XattrCreate)
	w.refused(syscall.EEXIST, wireSetXattr, in, n, value)
	in, n, value = set("user.b", []byte("x"), ext4.XattrReplace)
	w.refused(syscall.ENODATA, wireSetXattr, in, n, value)
	in, n, value = set("unknown.b", []byte("x"), 0)
	w.refused(syscall.EOPNOTSUPP, wireSetXattr, in, n, value)
	in, n, value = set("user."+strings.Repeat("n", 256), []byte("x"), 0)
	w.refused(syscall.ERANGE, wireSetXattr, in, n, value)

	get := func(size uint32) gofuse.GetXAttrIn { return gofuse.GetXAttrIn{InHeader: head(f), Size: size} }
	if got := w.must(wireGetXattr, get(100), name("user.a")); string(got) != "value" {
		t.Errorf("the value is %q", got)
	}
	if got := decode[gofuse.GetXAttrOut](t, w.must(wireGetXattr, get(0), name("user.a"))).Size; got != 5 {
		t.Errorf("the value has %d bytes", got)
	}
	w.refused(syscall.ERANGE, wireGetXattr, get(4), name("user.a"))
	w.refused(syscall.ENODATA, wireGetXattr, get(100), name("user.none"))
	if got := w.must(wireListXattr, get(100)); string(got) != "user.a\x00trusted.t\x00" {
		t.Errorf("the administrator's names are %q", got)
	}
	w.uid = 1000
	if got := w.must(wireListXattr, get(100)); string(got) != "user.a\x00" {
		t.Errorf("a user's names are %q", got)
	}
	w.uid = 0
	w.must(wireRemoveXattr, f, name("user.a"))
	w.refused(syscall.ENODATA, wireRemoveXattr, f, name("user.a"))

	ioctl := func(cmd uint32, in []byte, out uint32) (gofuse.IoctlIn, []byte) {
		return gofuse.IoctlIn{InHeader: head(f), Cmd: cmd, InSize: uint32(len(in)), OutSize: out}, in
	}
	word := func(v ...uint32) (p []byte) {
		for _, v := range v {
			p = binary.NativeEndian.AppendUint32(p, v)
		}
		return append(p, make([]byte, max(0, 28-len(p))*(len(v)/2))...)
	}
	req, arg := ioctl(fsIocSetFlags, word(disk.InodeExtents|disk.InodeNoDump), 0)
	w.must(wireIoctl, req, arg)
	req, arg = ioctl(fsIocGetFlags, nil, 4)
	got := w.must(wireIoctl, req, arg)
	if flags := binary.NativeEndian.Uint32(got[16:]); flags != disk.InodeExtents|disk.InodeNoDump {
		t.Errorf("flags are 0x%x", flags)
	}
	req, arg = ioctl(fsIocSetXattr, word(0x40, 0, 0, 77), 0) // noatime, project 77
	w.must(wireIoctl, req, arg)
	req, arg = ioctl(fsIocGetXattr, nil, 28)
	if got := w.must(wireIoctl, req, arg)[16:]; binary.NativeEndian.Uint32(got) != 0x40 ||
		binary.NativeEndian.Uint32(got[12:]) != 77 {
		t.Errorf("struct fsxattr is %x", got)
	}
	req, arg = ioctl(0x1234, nil, 0)
	w.refused(syscall.ENOTTY, wireIoctl, req, arg)

	s := decode[gofuse.StatfsOut](t, w.must(wireStatFs, uint64(1)))
	if st, err := w.volume.Stat(); err != nil || s.Blocks != st.Blocks || s.Bfree != st.Free ||
		s.Ffree != st.FreeInodes ||
		s.NameLen != 255 {
		t.Errorf("statfs is %+v, expected %+v", s, st)
	}
}

// TestWire_Open opens files with each of the front's options, and files that are immutable or only grow.
func TestWire_Open(t *testing.T) {
	open := func(node uint64, flags uint32) gofuse.OpenIn {
		return gofuse.OpenIn{InHeader: head(node), Flags: flags}
	}
	w := newWired(t, Options{Writeback: true})
	f := w.create(1, "f")
	for _, c := range []struct {
		flags uint32
		uid   uint32
		fh    uint64
		open  uint32
	}{
		{syscall.O_RDONLY, 0, 0, gofuse.FOPEN_KEEP_CACHE},
		{syscall.O_RDWR, 0, openPrivileged, gofuse.FOPEN_DIRECT_IO}, // less than scarce is free
		{syscall.O_WRONLY, 1000, 0, gofuse.FOPEN_DIRECT_IO},
		{syscall.O_RDWR | syscall.O_DIRECT, 1000, 0, gofuse.FOPEN_DIRECT_IO | gofuse.FOPEN_PARALLEL_DIRECT_WRITES},
	} {
		w.uid = c.uid
		o := decode[gofuse.OpenOut](t, w.must(wireOpen, open(f, c.flags)))
		if o.Fh != c.fh || o.OpenFlags != c.open {
			t.Errorf(
				"opened with 0x%x by %d: handle %d, flags 0x%x; expected %d and 0x%x",
				c.flags,
				c.uid,
				o.Fh,
				o.OpenFlags,
				c.fh,
				c.open,
			)
		}
	}
	w.uid = 0
	n := ext4.Node(f)
	for _, flag := range []uint32{disk.InodeAppend, disk.InodeImmutable} {
		if err := w.volume.SetFlags(ext4.Cred{}, n, disk.InodeExtents|flag); err != nil {
			t.Fatal(err)
		}
		w.refused(syscall.EPERM, wireOpen, open(f, syscall.O_RDWR))
		w.must(wireOpen, open(f, syscall.O_RDONLY))
	}
	w.refused(syscall.ENOSYS, wireOpenDir, open(1, 0))
	w.refused(syscall.ESTALE, wireOpen, open(f+1<<32, syscall.O_RDWR))

	tmp := decode[gofuse.CreateOut](t, w.must(wireTmpfile, gofuse.CreateIn{InHeader: head(1), Mode: 0o600}))
	w.write(tmp.NodeId, 0, []byte("x"))
	if got := w.attr(tmp.NodeId); got.Nlink != 0 || got.Size != 1 {
		t.Errorf("a file without a name is %+v", got)
	}

	without := newWired(t, Options{NoOpen: true, AutoUnmount: true})
	without.refused(syscall.ENOSYS, wireOpen, open(1, 0))
	without.refused(syscall.ENOSYS, wireCreate, gofuse.CreateIn{InHeader: head(1)}, name("f"))
	if o := decode[gofuse.OpenOut](t, without.must(wireOpenDir, open(1,
		0))); o.OpenFlags != gofuse.FOPEN_CACHE_DIR|gofuse.FOPEN_KEEP_CACHE {
		t.Errorf("a directory is opened with 0x%x", o.OpenFlags)
	}
}

// TestWire_Listing reads a directory in pieces, with and without attributes, and counts the kernel's references.
func TestWire_Listing(t *testing.T) {
	w := newWired(t, Options{})
	w.pid = 77
	first, second := w.mkdir(1, "first"), w.mkdir(1, "second")
	want := []string{".", ".."}
	for i := range 60 {
		for _, d := range []uint64{first, second} {
			w.create(d, fmt.Sprintf("name %02d", i))
		}
		want = append(want, fmt.Sprintf("name %02d", i))
	}
	sub := w.mkdir(second, "sub")
	for _, op := range []uint32{wireReadDir, wireReadDirPlus} {
		var names []string
		for offset, pieces := uint64(0), 0; ; pieces++ {
			list := w.list(op, first, offset, 1024)
			if len(list) == 0 {
				if pieces < 2 {
					t.Errorf("the directory came in %d pieces", pieces)
				}
				break
			}
			for _, e := range list {
				names = append(names, e.name)
				if plus := e.node != 0; plus != (op == wireReadDirPlus && e.name[0] != '.') {
					t.Errorf("opcode %d: %q has attributes: %v", op, e.name, plus)
				}
			}
			offset = list[len(list)-1].next
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("opcode %d: names are %q", op, names)
		}
	}
	// The second directory of a process is a probe: by names alone, but for subdirectories.
	for _, e := range w.list(wireReadDirPlus, second, 0, 64<<10) {
		if plus := e.node != 0; plus != (e.name == "sub") {
			t.Errorf("the second directory: %q has attributes: %v", e.name, plus)
		}
	}
	if count := w.front.lookups.none(sub); count {
		t.Error("a listing with attributes is no reference")
	}
	// sub: made once, listed once. f of first: made once, listed once.
	w.must(wireForget, gofuse.ForgetIn{InHeader: head(sub), Nlookup: 1})
	if w.front.lookups.none(sub) {
		t.Error("one of two references was given back, and none is left")
	}
	w.must(wireForget, gofuse.ForgetIn{InHeader: head(sub), Nlookup: 1})
	if !w.front.lookups.none(sub) {
		t.Error("both references were given back, and one is left")
	}
	w.refused(
		syscall.ENOTDIR,
		wireReadDir,
		gofuse.ReadIn{InHeader: head(w.lookup(first, "name 00").NodeId), Size: 1000},
	)
}

// TestWire_Shutdown: contents, values and changes are refused after a shutdown; names and attributes are not.
func TestWire_Shutdown(t *testing.T) {
	w := newWired(t, Options{})
	f := w.create(1, "f")
	w.write(f, 0, []byte("x"))
	if err := w.volume.Shutdown(ext4.ShutdownSync); err != nil {
		t.Fatal(err)
	}
	w.refused(syscall.EIO, wireRead, gofuse.ReadIn{InHeader: head(f), Size: 10})
	w.refused(syscall.EIO, wireOpen, gofuse.OpenIn{InHeader: head(f)})
	w.refused(syscall.EIO, wireGetXattr, gofuse.GetXAttrIn{InHeader: head(f), Size: 10}, name("user.a"))
	w.refused(syscall.EIO, wireMkdir, gofuse.MkdirIn{InHeader: head(1)}, name("d"))
	w.refused(syscall.EIO, wireFsync, gofuse.FsyncIn{InHeader: head(f)})
	w.refused(syscall.EIO, wireCopy, gofuse.CopyFileRangeIn{InHeader: head(f), NodeIdOut: f, Len: 1})
	if w.lookup(1, "f").NodeId != f || w.attr(f).Size != 1 {
		t.Error("the name is gone")
	}
}

// TestWire_WriteBack writes what the kernel has gathered: the user is the opener, by the handle, and an answer is never
// short.
func TestWire_WriteBack(t *testing.T) {
	w := newWired(t, Options{Writeback: true}, "-m", "20")
	f := w.create(1, "f")
	gathered := func(fh, offset uint64, data []byte) (gofuse.WriteIn, []byte) {
		return gofuse.WriteIn{
			InHeader:   head(f),
			Fh:         fh,
			Offset:     offset,
			Size:       uint32(len(data)),
			WriteFlags: gofuse.WRITE_CACHE,
		}, data
	}
	in, data := gathered(0, 0, []byte("gathered"))
	w.must(wireWrite, in, data)
	chunk, at, errno := make([]byte, 256<<10), uint64(0), syscall.Errno(0)
	for ; errno == 0 && at < 16<<20; at += uint64(len(chunk)) {
		in, data := gathered(0, at, chunk)
		_, errno = w.call(wireWrite, in, data)
	}
	if errno != syscall.ENOSPC {
		t.Fatalf("the last write: %v", errno)
	}
	in, data = gathered(openPrivileged, at, chunk)
	w.must(wireWrite, in, data) // root's reserve is left
	const byHandle = gofuse.FUSE_GETATTR_FH
	w.refused(syscall.ENOSPC, wireGetAttr, gofuse.GetAttrIn{InHeader: head(f), Flags_: byHandle})
	w.attr(f) // without a handle it is no write
}
