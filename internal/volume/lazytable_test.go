package volume_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// lazyImage makes an image whose inode tables have what was on the device before.
func lazyImage(t *testing.T) string {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-E", "nodiscard,lazy_itable_init=1", path, "16M")
	return path
}

// TestLazyTables_Gap: a creation fails while others take the slots behind its own. Its slot was never written, and is
// used no more: what the device had there must not show as an inode, now or after more changes of the same block.
func TestLazyTables_Gap(t *testing.T) {
	path := lazyImage(t)
	var w *volume.Writable
	var between func()
	w = open(t, path, volume.WriteOptions{Between: func() {
		if do := between; do != nil {
			between = nil
			do()
		}
	}})
	top := mkdir(t, w, ext4.Root, "top") // all that is in it lies in its group
	d := mkdir(t, w, top, "d")
	sync := func() {
		t.Helper()
		if err := w.Store.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	between = func() {
		for _, name := range []string{"a", "b", "c", "e", "f"} { // some of them in the next block
			mkfile(t, w, top, name, nil)
		}
		must[ext4.Removed](t)(w.Rmdir(root, top, "d"))
	}
	if _, err := w.Create(root, d, "lost", ext4.CreateOptions{Mode: disk.ModeRegular}); !errors.Is(err, ext4.ErrNotExist) {
		t.Fatalf("a file in a directory that was removed: %v", err)
	}
	sync()
	a := must[ext4.Inode](t)(resolve(w, "top/a"))
	mode := uint16(0o600)
	must[ext4.Inode](t)(w.SetAttr(root, ext4.NodeOf(&a), ext4.Attr{Mode: &mode})) // in the block of the slot
	state := filepath.Join(t.TempDir(), "state")
	sync()
	oracle.MustRun(t, "cp", path, state) // as a crash leaves it: home, and in the journal
	if out := oracle.MustRun(t, "e2fsck", "-fy", "-E", "journal_only", state); out == "" {
		t.Error("e2fsck says nothing")
	}
	oracle.Clean(t, state)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	w = open(t, path, volume.WriteOptions{})
	inode := must[ext4.Inode](t)(resolve(w, "top"))
	for _, name := range []string{"g", "h"} { // one of them takes the slot
		mkfile(t, w, ext4.NodeOf(&inode), name, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// resolve reads the inode of a path.
func resolve(w *volume.Writable, path string) (out ext4.Inode, err error) {
	err = w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(path, false)
		if err == nil {
			out.Ino, out.Generation = n.Ino, n.Generation
		}
		return err
	})
	return out, err
}
