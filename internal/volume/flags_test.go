package volume_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestSetFlags_Extents: without the flag of extents a short file has block pointers, with it extents again, and its
// contents all the time. A longer one keeps its form, but what else was asked for is done.
func TestSetFlags_Extents(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024")
	w := open(t, path, volume.WriteOptions{})
	short, long := bytes.Repeat([]byte("short "), 1500), bytes.Repeat([]byte("long "), 20_000)
	flagsOf := func(name string) uint32 {
		n := must[ext4.Inode](t)(lookup(w, ext4.Root, name))
		return n.Flags
	}
	a, b := mkfile(t, w, ext4.Root, "short", short), mkfile(t, w, ext4.Root, "long", long)
	dir := mkdir(t, w, ext4.Root, "dir")
	for range 2 {
		for _, n := range []ext4.Node{a, dir} {
			if err := w.SetFlags(root, n, disk.InodeImmutable|disk.InodeExtents); err != nil {
				t.Fatal(err)
			}
			if err := w.SetFlags(root, n, 0); err != nil {
				t.Fatal(err)
			}
		}
		if f := flagsOf("short"); f&(disk.InodeExtents|disk.InodeImmutable) != 0 {
			t.Errorf("short: flags 0x%x", f)
		}
		if got := contents(t, w, "short"); !bytes.Equal(got, short) {
			t.Error("the contents changed with the form")
		}
	}
	mkfile(t, w, dir, "inside", short)
	if _, err := w.Write(root, a, int64(len(short)), short, false); err != nil { // goes on behind the direct pointers
		t.Fatal(err)
	}
	if err := w.SetFlags(root, a, disk.InodeExtents); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("extents for a file with indirect blocks: %v", err)
	}
	if err := w.SetFlags(root, b, disk.InodeImmutable|disk.InodeExtents); err != nil {
		t.Fatal(err)
	}
	if err := w.SetFlags(root, b, 0); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("pointers for a long file: %v", err)
	}
	if f := flagsOf("long"); f&disk.InodeImmutable != 0 || f&disk.InodeExtents == 0 {
		t.Errorf("long: flags 0x%x", f)
	}
	if err := w.SetFlags(root, b, disk.InodeDirSync); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("a directory's flag for a file: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// TestSetFileAttr_Whole: one request of chattr or its kind is one transaction. If its project cannot be set its
// flags are not either; and a flag that another request sets before it commits stays.
func TestSetFileAttr_Whole(t *testing.T) {
	noDump := ext4.FileAttr{Xflags: 0x80, Project: 7} // FS_XFLAG_NODUMP
	flagsOf := func(w *volume.Writable, name string) (uint32, uint32) {
		n := must[ext4.Inode](t)(lookup(w, ext4.Root, name))
		return n.Flags &^ disk.InodeExtents, n.ProjectID
	}
	plain := open(t, mkfs(t, "16M", "-t", "ext4", "-O", "^project"), volume.WriteOptions{})
	n := mkfile(t, plain, ext4.Root, "file", nil)
	if err := plain.SetFileAttr(root, n, noDump); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("a project without the feature: %v", err)
	}
	if flags, _ := flagsOf(plain, "file"); flags != 0 {
		t.Errorf("flags 0x%x are set, though the request failed", flags)
	}
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}

	path := mkfs(t, "16M", "-t", "ext4", "-O", "project", "-I", "256")
	between := func() {}
	w := open(t, path, volume.WriteOptions{Between: func() { between() }})
	dir := mkdir(t, w, ext4.Root, "dir")
	commits := w.Store.Stats().Commits
	between = func() {
		between = func() {} // once
		if err := w.SetFlags(root, dir, disk.InodeExtents|disk.InodeDirSync); err != nil {
			t.Error(err)
		}
	}
	if err := w.SetFileAttr(root, dir, noDump); err != nil {
		t.Fatal(err)
	}
	if flags, project := flagsOf(w, "dir"); flags != disk.InodeDirSync|disk.InodeNoDump || project != 7 {
		t.Errorf("flags 0x%x, project %d", flags, project)
	}
	if got := w.Store.Stats().Commits - commits; got != 2 {
		t.Errorf("%d commits, expected one for each request", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
