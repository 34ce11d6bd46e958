package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// damageMaps clears bits of the first group's bitmaps behind the checksums' back.
func damageMaps(t *testing.T, path string) {
	t.Helper()
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	fs := must[*ext4.FS](t)(ext4.Open(f, ext4.Options{}))
	d := must[disk.GroupDesc](t)(fs.GroupDesc(0))
	for _, at := range []block.Number{d.BlockBitmap, d.InodeBitmap} {
		if _, err := f.WriteAt(make([]byte, 900), fs.Superblock().BlockSize.Offset(at)+2); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBitmaps_WrongSum: by a bitmap whose checksum is wrong, nothing is taken that a file has, and nothing is freed;
// the damage is noted, and e2fsck finds it.
func TestBitmaps_WrongSum(t *testing.T) {
	path := mkfs(t, "64M", "-t", "ext4", "-b", "1024", "-O", "^has_journal")
	oracle.MustRun(t, "tune2fs", "-O", "has_journal", "-J", "size=4", path)
	w := open(t, path, volume.WriteOptions{})
	old := map[string][]byte{}
	for i := range 40 {
		name := fmt.Sprint("old", i)
		old[name] = bytes.Repeat([]byte{byte(i + 1)}, 50_000)
		mkfile(t, w, ext4.Root, name, old[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	damageMaps(t, path)
	w = open(t, path, volume.WriteOptions{OnDamage: ext4.Continue})
	for i := range 40 {
		mkfile(t, w, ext4.Root, fmt.Sprint("new", i), make([]byte, 100_000))
	}
	for i := range 5 {
		name := fmt.Sprint("old", i)
		r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, name))
		if err := w.Evict(r.Node); err != nil {
			t.Errorf("free %s: %v", name, err)
		}
		delete(old, name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out := oracle.MustRun(t, "dumpe2fs", "-h", path); !strings.Contains(out, "with errors") {
		t.Error("the damage is not noted")
	}
	out := mend(t, path)
	for _, bad := range []string{"multiply-claimed", "unattached", "deleted/unused"} {
		if strings.Contains(strings.ToLower(out), bad) {
			t.Errorf("e2fsck found more than bitmaps: %s\n%s", bad, out)
			break
		}
	}
	w = open(t, path, volume.WriteOptions{})
	defer w.Close()
	for name, data := range old {
		err := holds(w, name, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestXattrBlock_Misdirected: freeing an inode that names another file's data as its block of attributes leaves that as
// it is.
func TestXattrBlock_Misdirected(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum")
	w := open(t, path, volume.WriteOptions{})
	data := bytes.Repeat([]byte{7, 0, 0, 0}, 256)
	mkfile(t, w, ext4.Root, "victim", data)
	mkfile(t, w, ext4.Root, "bad", nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(oracle.MustRun(t, "debugfs", "-R", "bmap victim 0", path))
	at := lines[len(lines)-1]
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field bad file_acl "+at, path)
	w = open(t, path, volume.WriteOptions{OnDamage: ext4.Continue})
	r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "bad"))
	if err := w.Evict(r.Node); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	mend(t, path)
	w = open(t, path, volume.WriteOptions{})
	defer w.Close()
	if err := holds(w, "victim", data); err != nil {
		t.Errorf("the file that has the block: %v", err)
	}
}

// mend has e2fsck repair an image, and returns what it said.
func mend(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("e2fsck", "-fy", path).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	oracle.Clean(t, path)
	return string(out)
}

// holds checks what is in a file.
func holds(w *volume.Writable, name string, data []byte) error {
	return w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(name, false)
		if err != nil {
			return err
		}
		got := make([]byte, len(data)+1)
		k, err := n.ReadAt(got, 0)
		if !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(got[:k], data) {
			return errors.New("has other contents")
		}
		return nil
	})
}

// TestOrphans_Damaged: an orphan that cannot be freed is noted as damage, and the image can be mounted and unmounted.
func TestOrphans_Damaged(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum")
	w := open(t, path, volume.WriteOptions{})
	n := mkfile(t, w, ext4.Root, "bad", []byte("contents"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf("<%d>", n.Ino())
	// no name, and a tree without its magic
	for _, command := range []string{"unlink bad", "set_inode_field " + inode + " links_count 0",
		"set_inode_field " + inode + " block[0] 0", fmt.Sprint("set_super_value last_orphan ", n.Ino())} {
		oracle.MustRun(t, "debugfs", "-w", "-R", command, path)
	}
	for range 2 {
		w := open(t, path, volume.WriteOptions{OnDamage: ext4.Continue})
		mkfile(t, w, ext4.Root, "file", []byte("contents"))
		must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "file"))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if out := oracle.MustRun(t, "dumpe2fs", "-h", path); !strings.Contains(out, "with errors") {
		t.Error("the damage is not noted")
	}
	mend(t, path)
}

// TestBitmaps_WrongCount: on an image without checksums nothing is taken by a block bitmap that does not have as many
// free blocks as its group's descriptor, and files keep their contents.
func TestBitmaps_WrongCount(t *testing.T) {
	path := mkfs(t, "24M", "-t", "ext3", "-b", "1024")
	w := open(t, path, volume.WriteOptions{})
	old := bytes.Repeat([]byte("old contents"), 100_000)
	mkfile(t, w, ext4.Root, "old", old)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	fs := must[*ext4.FS](t)(ext4.Open(f, ext4.Options{}))
	for g := range fs.Superblock().Groups() {
		d := must[disk.GroupDesc](t)(fs.GroupDesc(g))
		at := fs.Superblock().BlockSize.Offset(d.BlockBitmap)
		if _, err := f.WriteAt(make([]byte, 800), at+200); err != nil {
			t.Fatal(err)
		}
	}
	w = open(t, path, volume.WriteOptions{OnDamage: ext4.Continue})
	mkfile(t, w, ext4.Root, "new", make([]byte, 1<<20)) // in a group whose bitmap was and is zeros there
	if err := holds(w, "old", old); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out := oracle.MustRun(t, "dumpe2fs", "-h", path); !strings.Contains(out, "with errors") {
		t.Error("the damage is not noted")
	}
}
