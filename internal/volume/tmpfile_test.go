package volume_test

import (
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// scatter gives a file more extents than one transaction frees.
func scatter(t testing.TB, w *volume.Writable, n ext4.Node) {
	t.Helper()
	for i := range int64(64) {
		if _, err := w.Write(root, n, i*8192, make([]byte, 4096), false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTmpfile_CutThenLinked: a file without a name that is cut shorter in several transactions may get a name
// afterwards.
func TestTmpfile_CutThenLinked(t *testing.T) {
	path := mkfs(t, "32M", "-t", "ext4", "-b", "4096")
	w := open(t, path, volume.WriteOptions{})
	made := must[ext4.Inode](t)(w.Tmpfile(root, ext4.Root, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644}))
	n := ext4.NodeOf(&made)
	scatter(t, w, n)
	size := uint64(0)
	if _, err := w.SetAttr(root, n, ext4.Attr{Size: &size}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Link(root, n, ext4.Root, "name"); err != nil {
		t.Errorf("link: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// TestTruncate_UnlinkedMeanwhile: a file that loses its last name between a step of its truncation and that step's
// commit is freed at the end.
func TestTruncate_UnlinkedMeanwhile(t *testing.T) {
	for step := range 8 {
		w, next := interleaved(t)
		n := mkfile(t, w, ext4.Root, "file", nil)
		scatter(t, w, n)
		free := func() uint64 { return must[ext4.Stat](t)(w.Stat()).FreeInodes }
		before := free()
		left := step
		var between func()
		between = func() {
			if left--; left >= 0 {
				*next = between
				return
			}
			must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "file"))
		}
		*next = between
		size := uint64(0)
		if _, err := w.SetAttr(root, n, ext4.Attr{Size: &size}); err != nil {
			t.Fatal(err)
		}
		*next = nil
		if left >= 0 {
			continue // there were fewer steps
		}
		if err := w.Evict(n); err != nil {
			t.Fatal(err)
		}
		if free() != before+1 {
			t.Errorf("the file that lost its name at step %d is not free", step)
		}
	}
}
