package volume_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestLargeDelete frees more blocks in one epoch than the journal has room to revoke, data journalled and in an
// overlay: the mount goes on, and so do those after it.
func TestLargeDelete(t *testing.T) {
	for name, overlay := range map[string]bool{"data journalled": false, "overlay": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := largeDelete(t, overlay); err != nil {
				t.Error(err)
			}
		})
	}
}

// largeDelete deletes a file of 400,000 blocks on a file system with a journal of 1,024, and opens, commits and checks
// what is left.
func largeDelete(t *testing.T, overlay bool) error {
	path := mkfs(t, "512M", "-t", "ext4", "-b", "1024", "-J", "size=1")
	spec, over := volume.Spec{Image: path}, filepath.Join(t.TempDir(), "overlay")
	reopen := func() (*volume.Writable, error) {
		if overlay {
			return volume.OpenOverlay(spec, over, volume.WriteOptions{})
		}
		return volume.OpenWritable(spec, volume.WriteOptions{JournalData: true})
	}
	w, err := reopen()
	if err != nil {
		t.Fatal(err)
	}
	n := mkfile(t, w, ext4.Root, "large", []byte("some contents that are logged"))
	if err := w.Allocate(root, n, 0, 400<<20, false); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "large"))
	if err := w.Evict(r.Node); err != nil {
		return err
	}
	if err := w.Sync(context.Background()); err != nil {
		_ = w.Abandon()
		return err
	}
	mkfile(t, w, ext4.Root, "after", []byte("it"))
	if err := w.Close(); err != nil {
		return err
	}
	if w, err = reopen(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if overlay {
		if _, err := volume.CommitOverlay(spec, over, nil, func(string) {}); err != nil {
			return err
		}
	}
	oracle.Clean(t, path)
	return nil
}
