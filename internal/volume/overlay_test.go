package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// makeFile makes a file with contents in the root, durably.
func makeFile(t *testing.T, w *volume.Writable, name, contents string) {
	t.Helper()
	n, err := w.Create(ext4.Cred{}, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	if err == nil {
		_, err = w.Write(ext4.Cred{}, ext4.NodeOf(&n), 0, []byte(contents), false)
	}
	if err == nil {
		err = w.Sync(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpenOverlayOn_Base: changes go into the overlay's file alone; they are there when it is opened again, after a
// crash, too. A base of another size is refused.
func TestOpenOverlayOn_Base(t *testing.T) {
	for _, mkfs := range [][]string{{"-t", "ext4"}, {"-t", "ext2"}} {
		image, err := os.ReadFile(oracle.NewImage(t, 8<<20, mkfs...))
		if err != nil {
			t.Fatal(err)
		}
		base, file := blockcache.Memory(bytes.Clone(image)), blockcache.NewRAM(nil)
		w, err := volume.OpenOverlayOn(file, base, volume.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		makeFile(t, w, "kept", "in the overlay")
		crashed := blockcache.NewRAM(file.Bytes()) // what a crash leaves: all that was synced
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for name, file := range map[string]*blockcache.RAM{"closed": file, "crashed": crashed} {
			w, err := volume.OpenOverlayOn(file, base, volume.WriteOptions{})
			if err != nil {
				t.Fatalf("%v, %s: %v", mkfs, name, err)
			}
			if got := contents(t, w, "kept"); string(got) != "in the overlay" {
				t.Errorf("%v, %s: %q", mkfs, name, got)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(base, image) {
			t.Errorf("%v: the base has changed", mkfs)
		}
		if _, err := volume.OpenOverlayOn(file, base[:len(base)-4096], volume.WriteOptions{}); !errors.Is(err,
			blockcache.ErrForeign) {
			t.Errorf("%v, another base: %v", mkfs, err)
		}
	}
}

// TestDiscardOverlay_Refusals: an overlay that is open, half way into its image, missing or no overlay stays as it is.
func TestDiscardOverlay_Refusals(t *testing.T) {
	image, dir := oracle.NewImage(t, 8<<20), t.TempDir()
	path := filepath.Join(dir, "overlay")
	w, err := volume.OpenOverlay(volume.Spec{Image: image}, path, volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := volume.DiscardOverlay(path); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("an overlay that is open: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("words\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half")
	oracle.MustRun(t, "cp", path, half)
	setCommitting(t, half)
	for file, want := range map[string]error{
		text: blockcache.ErrNoOverlay, half: volume.ErrCommitting, filepath.Join(dir, "missing"): fs.ErrNotExist,
	} {
		if err := volume.DiscardOverlay(file); !errors.Is(err, want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, expected %v", file, err, want)
		}
	}
	for _, file := range []string{path, text, half} {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a refused overlay: %v", err)
		}
	}
	if err := volume.DiscardOverlay(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a discarded overlay: %v", err)
	}
}

// setCommitting marks an overlay as one whose blocks are being copied to the image.
func setCommitting(t *testing.T, path string) {
	t.Helper()
	d, err := blockcache.OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	o, _, err := blockcache.OpenOverlayOn(d, blockcache.Memory(make([]byte, 8<<20)), identityOf(t, d), 0)
	if err == nil {
		err = o.SetState(blockcache.OverlayCommitting)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// identityOf is the identity that an overlay's header has (blockcache/overlay.go).
func identityOf(t *testing.T, d *blockcache.Disk) (id [64]byte) {
	t.Helper()
	if _, err := d.ReadAt(id[:], 32); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestAdvise: the error of a damaged image says which program shows the damage, and stays that error; others stay as
// they are.
func TestAdvise(t *testing.T) {
	damage := fmt.Errorf("opened: %w", ondisk.Corruptf("inode 7", "has no mode"))
	got := volume.Advise(damage)
	if !errors.Is(got, ondisk.ErrCorrupt) || !strings.Contains(got.Error(), "e2fsck -fn") ||
		!strings.Contains(got.Error(), "inode 7") {
		t.Errorf("damage: %v", got)
	}
	for _, err := range []error{nil, io.ErrUnexpectedEOF, &ondisk.UnsupportedError{},
		errors.Join(damage, &ondisk.UnsupportedError{})} {
		if got := volume.Advise(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
