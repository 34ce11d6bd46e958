package volume_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// manyNames links a file under so many long names, and returns at which one that failed.
func manyNames(w *volume.Writable, dir, file ext4.Node, from, to int) (int, error) {
	for i := from; i < to; i++ {
		if _, err := w.Link(root, file, dir, longName(i)); err != nil {
			return i, err
		}
	}
	return to, nil
}

func longName(i int) string { return fmt.Sprintf("%06d%s", i, strings.Repeat("n", 240)) }

// fillIndex makes names in a directory of an image with small blocks until there are so many, or no space.
func fillIndex(t *testing.T, feature string, most int) (image string, made int, err error) {
	image = mkfs(t, "64M", "-t", "ext4", "-b", "1024", "-O", feature)
	w := open(t, image, volume.WriteOptions{})
	dir, file := mkdir(t, w, ext4.Root, "dir"), mkfile(t, w, ext4.Root, "file", []byte("contents"))
	made, err = manyNames(w, dir, file, 0, most)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, image)
	clean(t, image)
	return image, made, err
}

// indexLevels expects a hash tree with so many levels below its root, and the kernel to find every name in it.
func indexLevels(t *testing.T, image, dir string, levels, names int) {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "htree_dump /dir", image).CombinedOutput()
	if want := fmt.Sprintf("Indirect levels: %d", levels); err != nil || !strings.Contains(string(out), want) {
		t.Fatalf("%v: expected %q in %.300s", err, want, out)
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != names {
		t.Fatalf("the kernel finds %d names of %d: %v", len(found), names, err)
	}
	for i := 0; i < names; i += 97 {
		var st unix.Stat_t
		if err := unix.Stat(dir+"/"+longName(i), &st); err != nil {
			t.Fatalf("name %d: %v", i, err)
		}
	}
}

// TestLargeDir_ThirdLevel fills two levels of a hash tree. With large_dir a third one follows, which the kernel reads
// and writes to.
func TestLargeDir_ThirdLevel(t *testing.T) {
	t.Parallel()
	oracle.NeedRoot(t)
	image, made, err := fillIndex(t, "large_dir", 26000)
	if err != nil {
		t.Fatalf("name %d: %v", made, err)
	}
	mounted, unmount := oracle.MountKernel(t, image, "rw")
	indexLevels(t, image, mounted+"/dir", 2, made)
	for i := made; i < made+300; i++ {
		if err := os.Link(mounted+"/file", mounted+"/dir/"+longName(i)); err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	w := open(t, image, volume.WriteOptions{})
	dir := must[ext4.Inode](t)(lookup(w, ext4.Root, "dir"))
	for i := made + 299; i > 0; i -= 11 {
		if _, err := w.Unlink(root, ext4.NodeOf(&dir), longName(i)); err != nil {
			t.Fatalf("unlink name %d: %v", i, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, image)
	clean(t, image)
}

// TestLargeDir_Without: without large_dir there is no space when two levels are full, as in the kernel.
func TestLargeDir_Without(t *testing.T) {
	t.Parallel()
	oracle.NeedRoot(t)
	image, made, err := fillIndex(t, "^large_dir,^has_journal", 30000)
	if !errors.Is(err, ext4.ErrNoSpace) {
		t.Fatalf("name %d: %v", made, err)
	}
	mounted, _ := oracle.MountKernel(t, image, "rw")
	indexLevels(t, image, mounted+"/dir", 1, made)
	if err := os.Link(mounted+"/file", mounted+"/dir/"+longName(made)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the kernel says %v", err)
	}
}

// TestRevision0 writes to an image whose superblock has no features. The first one that is used makes its revision 1,
// as the kernel does.
func TestRevision0(t *testing.T) {
	oracle.NeedRoot(t)
	image := mkfs(t, "16M", "-t", "ext2", "-O", "none", "-r", "0")
	w := open(t, image, volume.WriteOptions{})
	file := mkfile(t, w, ext4.Root, "file", []byte("contents"))
	mkfile(t, w, mkdir(t, w, ext4.Root, "dir"), "other", make([]byte, 100000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := superOf(t, image); s.Revision != 0 || s.ROCompat != 0 || s.Incompat != 0 {
		t.Errorf("revision %d, features %v %v", s.Revision, s.Incompat, s.ROCompat)
	}
	oracle.Clean(t, image)
	clean(t, image)
	w = open(t, image, volume.WriteOptions{})
	if _, err := w.Write(root, file, 1<<31, []byte("far"), false); err != nil {
		t.Fatal(err)
	}
	if err := w.SetXattr(root, file, "user.name", []byte("value"), 0, false); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := superOf(t, image)
	if s.Revision != 1 || s.FirstIno != 11 || s.InodeSize != 128 || s.ROCompat != disk.ROCompatLargeFile ||
		s.Compat != disk.CompatExtAttr {
		t.Errorf("revision %d, first inode %d of %d bytes, features %v %v", s.Revision, s.FirstIno, s.InodeSize,
			s.Compat, s.ROCompat)
	}
	oracle.Clean(t, image)
	clean(t, image)
	dir, unmount := oracle.MountKernel(t, image, "rw")
	p := make([]byte, 3)
	f, err := os.Open(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(p, 1<<31); err != nil || string(p) != "far" {
		t.Errorf("the kernel reads %q: %v", p, err)
	}
	if err := errors.Join(f.Close(), os.Mkdir(dir+"/kernel", 0o755)); err != nil {
		t.Error(err)
	}
	unmount()
	oracle.Clean(t, image)
}

// TestHurd_ReadOnly: inodes of the Hurd have fields of its own where Linux has others, so that varve only reads them.
func TestHurd_ReadOnly(t *testing.T) {
	image := mkfs(t, "8M", "-t", "ext2", "-o", "hurd")
	_, err := volume.OpenWritable(volume.Spec{Image: image}, volume.WriteOptions{})
	if !errors.Is(err, ondisk.ErrUnsupported) || !strings.Contains(err.Error(), "Hurd") {
		t.Errorf("for writing: %v", err)
	}
	v, err := volume.Open(volume.Spec{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if names := list(t, v, "/"); len(names) != 3 {
		t.Errorf("the root has %q", names)
	}
}
