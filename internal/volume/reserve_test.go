package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestReserve_FullDisk fills the file system that a sparse image or an overlay lies on: what finds no room is refused,
// the journal has its own, and small changes are durable as before. With room again everything is written home.
func TestReserve_FullDisk(t *testing.T) {
	oracle.NeedRoot(t)
	for _, over := range []bool{false, true} {
		t.Run(map[bool]string{false: "in place", true: "overlay"}[over], func(t *testing.T) {
			small, dir := t.TempDir(), t.TempDir()
			if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=24m"); err != nil {
				t.Fatal(err)
			}
			defer unix.Unmount(small, 0)
			image := filepath.Join(small, "image")
			if over {
				image = filepath.Join(dir, "image")
			}
			oracle.MustRun(t, "mke2fs", "-q", "-F", "-t", "ext4", "-E",
				"lazy_itable_init=1,lazy_journal_init=1,nodiscard", image, "64M")
			var w *volume.Writable
			if over {
				w = must[*volume.Writable](t)(volume.OpenOverlay(volume.Spec{Image: image},
					filepath.Join(small, "overlay"), volume.WriteOptions{}))
			} else {
				w = open(t, image, volume.WriteOptions{})
			}
			filler := filepath.Join(small, "filler")
			_ = os.WriteFile(filler, make([]byte, 32<<20), 0o600) // ends with ENOSPC
			for _, name := range []string{"one", "two", "three"} {
				mkfile(t, w, ext4.Root, name, nil)
				if err := w.Sync(context.Background()); err != nil {
					t.Fatalf("%s on a full disk: %v", name, err)
				}
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if !over {
				oracle.Clean(t, image)
			}
		})
	}
}
