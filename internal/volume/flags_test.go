package volume_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestSetFlags_Extents: without the flag of extents a short file has block pointers, with it extents again, and its contents all the time. A longer one keeps its
// form, but what else was asked for is done.
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
	if err := w.SetFlags(root, a, disk.InodeExtents); !errors.Is(err, ext4.ErrUnsupported) {
		t.Errorf("extents for a file with indirect blocks: %v", err)
	}
	if err := w.SetFlags(root, b, disk.InodeImmutable|disk.InodeExtents); err != nil {
		t.Fatal(err)
	}
	if err := w.SetFlags(root, b, 0); !errors.Is(err, ext4.ErrUnsupported) {
		t.Errorf("pointers for a long file: %v", err)
	}
	if f := flagsOf("long"); f&disk.InodeImmutable != 0 || f&disk.InodeExtents == 0 {
		t.Errorf("long: flags 0x%x", f)
	}
	if err := w.SetFlags(root, b, disk.InodeDirSync); !errors.Is(err, ext4.ErrUnsupported) {
		t.Errorf("a directory's flag for a file: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
