package fronts

import (
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// TestNull_Names follows a name through its life: the null daemon keeps names and sizes, so that a load does not fail.
func TestNull_Names(t *testing.T) {
	f := newNull()
	root := gofuse.InHeader{NodeId: 1}
	var dir gofuse.EntryOut
	ok := func(what string, s gofuse.Status) {
		t.Helper()
		if s != gofuse.OK {
			t.Fatalf("%s: %v", what, s)
		}
	}
	node := func(h gofuse.InHeader, name string) uint64 {
		t.Helper()
		var out gofuse.EntryOut
		ok("lookup "+name, f.Lookup(nil, &h, name, &out))
		return out.NodeId
	}
	ok("mkdir", f.Mkdir(nil, &gofuse.MkdirIn{InHeader: root, Mode: 0o700}, "dir", &dir))
	if dir.Mode != syscall.S_IFDIR|0o700 {
		t.Errorf("the directory has mode %#o", dir.Mode)
	}
	var made gofuse.CreateOut
	ok("create", f.Create(nil, &gofuse.CreateIn{InHeader: root, Mode: 0o644}, "one", &made))
	if node(root, "one") != made.NodeId || node(root, "two") != 0 {
		t.Error("a name is not there after its creation, or one is that was not created")
	}
	for range 2 { // a second write of the same bytes does not grow the file
		n, s := f.Write(nil, &gofuse.WriteIn{InHeader: gofuse.InHeader{NodeId: made.NodeId}, Offset: 10}, make([]byte, 5))
		if ok("write", s); n != 5 {
			t.Errorf("%d bytes were written", n)
		}
	}
	var attr gofuse.AttrOut
	ok("stat", f.GetAttr(nil, &gofuse.GetAttrIn{InHeader: gofuse.InHeader{NodeId: made.NodeId}}, &attr))
	if attr.Size != 15 || attr.Mode != syscall.S_IFREG|0o644 {
		t.Errorf("size %d, mode %#o", attr.Size, attr.Mode)
	}
	ok("rename", f.Rename(nil, &gofuse.RenameIn{InHeader: root, Newdir: dir.NodeId}, "one", "two"))
	if below := (gofuse.InHeader{NodeId: dir.NodeId}); node(root, "one") != 0 || node(below, "two") != made.NodeId {
		t.Error("the name did not move")
	} else {
		ok("unlink", f.Unlink(nil, &below, "two"))
		if node(below, "two") != 0 {
			t.Error("the name is there after unlink")
		}
	}
	f.Forget(made.NodeId, 1)
	s := f.GetAttr(nil, &gofuse.GetAttrIn{InHeader: gofuse.InHeader{NodeId: made.NodeId}}, &attr)
	if s != gofuse.Status(syscall.ESTALE) {
		t.Errorf("a forgotten node answers %v", s)
	}
}

func TestOpenFlags_Direct(t *testing.T) {
	if got := openFlags(syscall.O_RDWR | syscall.O_DIRECT); got&gofuse.FOPEN_PARALLEL_DIRECT_WRITES == 0 {
		t.Errorf("O_DIRECT: %#x", got)
	}
	if got := openFlags(syscall.O_RDWR); got != gofuse.FOPEN_KEEP_CACHE {
		t.Errorf("buffered: %#x", got)
	}
}
