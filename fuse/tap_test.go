package fuse

import (
	"slices"
	"sync"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
)

// noting is an observer that keeps what it observes.
type noting struct {
	mu    sync.Mutex
	deaf  bool
	asked int
	seen  []Operation
}

func (k *noting) Listening() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return !k.deaf
}

func (k *noting) Observe(o Operation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = append(k.seen, o)
}

// TestTap_Observes: each request is observed once, with its names, its result, and the commit of a change.
func TestTap_Observes(t *testing.T) {
	k := new(noting)
	w := newWired(t, Options{Observer: k})
	w.uid, w.pid = 0, 77
	d := w.mkdir(1, "d")
	f := w.create(d, "f")
	w.lookup(d, "f")
	w.write(f, 5, []byte("text"))
	w.read(f, 0, 64)
	w.must(wireSetXattr, gofuse.SetXAttrIn{InHeader: head(f), Size: 1}, name("user.x"), []byte("v"))
	w.must(wireGetXattr, gofuse.GetXAttrIn{InHeader: head(f), Size: 16}, name("user.x"))
	w.must(wireSetAttr, setAttr(f, gofuse.SetAttrInCommon{Valid: gofuse.FATTR_SIZE, Size: 2}))
	w.must(wireSetAttr, setAttr(f, gofuse.SetAttrInCommon{Valid: gofuse.FATTR_MODE, Mode: 0o600}))
	w.must(wireFsync, gofuse.FsyncIn{InHeader: head(f)})
	w.must(wireLink, gofuse.LinkIn{InHeader: head(1), Oldnodeid: f}, name("l"))
	w.must(wireRename, gofuse.RenameIn{InHeader: head(d), Newdir: 1}, name("f"), name("g"))
	w.refused(syscall.ENOENT, wireUnlink, uint64(1), name("none"))
	w.must(wireUnlink, uint64(1), name("g"))
	w.must(wireRmdir, uint64(1), name("d"))

	di, fi, root := node(d).Ino(), node(f).Ino(), ext4.RootIno
	want := []Operation{
		{Name: "mkdir", Inode: root, Entry: "d", Made: di},
		{Name: "create", Inode: di, Entry: "f", Made: fi},
		{Name: "lookup", Inode: di, Entry: "f", Made: fi},
		{Name: "write", Inode: fi, Offset: 5, Bytes: 4},
		{Name: "read", Inode: fi, Bytes: 64},
		{Name: "setxattr", Inode: fi, Attribute: "user.x"},
		{Name: "getxattr", Inode: fi, Attribute: "user.x"},
		{Name: "truncate", Inode: fi, Offset: 2},
		{Name: "chmod", Inode: fi},
		{Name: "fsync", Inode: fi},
		{Name: "link", Inode: fi, To: root, ToEntry: "l"},
		{Name: "rename", Inode: di, Entry: "f", To: root, ToEntry: "g"},
		{Name: "unlink", Inode: root, Entry: "none", Errno: uint32(syscall.ENOENT)},
		{Name: "unlink", Inode: root, Entry: "g"},
		{Name: "rmdir", Inode: root, Entry: "d"},
	}
	changes := []string{"mkdir", "create", "write", "setxattr", "truncate", "chmod", "link", "rename", "unlink",
		"rmdir"}
	if len(k.seen) != len(want) {
		t.Fatalf("%d operations: %+v", len(k.seen), k.seen)
	}
	last := uint64(0)
	for i, o := range k.seen {
		if o.Thread != 77 || o.Began.IsZero() || o.Took <= 0 {
			t.Errorf("%+v", o)
		}
		if slices.Contains(changes, o.Name) && o.Errno == 0 {
			if o.Commit <= last {
				t.Errorf("%s: commit %d after %d", o.Name, o.Commit, last)
			}
			last = o.Commit
		} else if o.Commit != 0 && o.Name != "read" { // a read may store the time of access
			t.Errorf("%s made commit %d", o.Name, o.Commit)
		}
		o.Thread, o.Began, o.Took, o.Commit = 0, want[i].Began, 0, 0
		if o != want[i] {
			t.Errorf("operation %d is %+v, want %+v", i, o, want[i])
		}
	}
	left := 0
	w.front.underway.Range(func(any, any) bool { left++; return true })
	if n := w.front.underway.n.Load(); left != 0 || n != 0 {
		t.Errorf("%d operations are kept, %d counted", left, n)
	}
}

// TestTap_Deaf: nothing is observed while the observer does not listen.
func TestTap_Deaf(t *testing.T) {
	k := &noting{deaf: true}
	w := newWired(t, Options{Observer: k})
	w.write(w.create(1, "f"), 0, []byte("text"))
	if n := testing.AllocsPerRun(100, func() { w.front.underway.committed(1 << 40) }); n != 0 {
		t.Errorf("%v allocations for a change that is not observed", n)
	}
	if k.asked == 0 || len(k.seen) != 0 {
		t.Errorf("asked %d times, observed %+v", k.asked, k.seen)
	}
}
