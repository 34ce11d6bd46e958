package fuse

import (
	"io"
	"log"
	"os"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// liveFront is a front over a fresh image in memory.
func liveFront(t *testing.T) *writable {
	t.Helper()
	image, err := os.ReadFile(oracle.NewImage(t, 8<<20, "-t", "ext4"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := volume.OpenOn(blockcache.NewRAM(image), volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return newWritable(w.Writable, log.New(io.Discard, "", 0))
}

func root() gofuse.InHeader { return gofuse.InHeader{NodeId: gofuse.FUSE_ROOT_ID} }

// orphan makes a file, has the kernel look it up three times in all (by creating it, by name, in a listing), and
// removes its name.
func (f *writable) orphan(t *testing.T) (id uint64) {
	t.Helper()
	var made gofuse.CreateOut
	in := gofuse.CreateIn{InHeader: root(), Mode: 0o644}
	if s := f.Create(nil, &in, "file", &made); !s.Ok() {
		t.Fatal(s)
	}
	head := root()
	var found gofuse.EntryOut
	if s := f.Lookup(nil, &head, "file", &found); !s.Ok() || found.NodeId != made.NodeId {
		t.Fatal(s, found.NodeId, made.NodeId)
	}
	list := gofuse.NewDirEntryList(make([]byte, 4096), 0)
	if s := f.ReadDirPlus(nil, &gofuse.ReadIn{InHeader: root()}, list); !s.Ok() {
		t.Fatal(s)
	}
	if s := f.Unlink(nil, &head, "file"); !s.Ok() {
		t.Fatal(s)
	}
	return made.NodeId
}

func (f *writable) stat(id uint64) gofuse.Status {
	var out gofuse.AttrOut
	return f.GetAttr(nil, &gofuse.GetAttrIn{InHeader: gofuse.InHeader{NodeId: id}}, &out)
}

// TestForget_Counts: an inode without a name lives until the kernel has given back each reference that a reply gave it.
func TestForget_Counts(t *testing.T) {
	f := liveFront(t)
	id := f.orphan(t)
	for _, n := range []uint64{1, 1} {
		f.Forget(id, n)
		if s := f.stat(id); !s.Ok() {
			t.Fatalf("with a reference left, the inode is gone: %v", s)
		}
	}
	f.Forget(id, 1)
	if s := f.stat(id); s != gofuse.Status(syscall.ESTALE) {
		t.Errorf("without any reference the inode is still there: %v", s)
	}
}

// TestForget_Late: a FORGET that has taken the last reference back, and was then overtaken by a reply that gave out
// another one, frees nothing.
func TestForget_Late(t *testing.T) {
	f := liveFront(t)
	id := f.orphan(t)
	if !f.lookups.forget(id, 3) {
		t.Fatal("references are left")
	}
	f.lookups.add(id)
	if err := f.fs.EvictIf(node(id), func() bool { return f.lookups.none(id) }); err != nil {
		t.Fatal(err)
	}
	if s := f.stat(id); !s.Ok() {
		t.Errorf("the inode is gone, and the kernel has a reference to it: %v", s)
	}
	f.Forget(id, 1)
	if s := f.stat(id); s != gofuse.Status(syscall.ESTALE) {
		t.Errorf("without any reference the inode is still there: %v", s)
	}
}
