package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestTrim_SameAgain: a block that was freed and discarded, and then gets the contents that it had before, has them on
// the image, too.
func TestTrim_SameAgain(t *testing.T) {
	ctx := context.Background()
	image := must[[]byte](t)(os.ReadFile(mkfs(t, "8M", "-t", "ext3", "-b", "1024")))
	ram := blockcache.NewRAM(image)
	w := must[*volume.Writable](t)(volume.OpenOn(ram, volume.WriteOptions{}))
	mkdir := func() {
		must[ext4.Inode](t)(w.Create(root, ext4.Root, "d", ext4.CreateOptions{Mode: disk.ModeDir | 0o755}))
		if err := w.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Store.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	r := must[ext4.Removed](t)(w.Rmdir(root, ext4.Root, "d"))
	if err := w.Evict(r.Node); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if n := must[uint64](t)(w.Trim(ctx, ext4.TrimRange{Len: 1 << 40})); n == 0 {
		t.Fatal("nothing was trimmed")
	}
	mkdir()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image")
	out := make([]byte, ram.Size())
	must[int](t)(ram.ReadAt(out, 0))
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
