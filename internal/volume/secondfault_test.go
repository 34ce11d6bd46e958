package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// faulted are operations that meet a fault, on a file system with the files "file" and "other" of 9,000 bytes.
var faulted = map[string]func(w *volume.Writable, file ext4.Node) error{
	"create": func(w *volume.Writable, _ ext4.Node) error {
		_, err := w.Create(root, ext4.Root, "new", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
		return err
	},
	"overwrite": func(w *volume.Writable, file ext4.Node) error {
		_, err := w.Write(root, file, 500, bytes.Repeat([]byte("n"), 4000), false)
		return err
	},
	"append": func(w *volume.Writable, file ext4.Node) error {
		_, err := w.Write(root, file, 9000, bytes.Repeat([]byte("n"), 30_000), false)
		return err
	},
	"truncate": func(w *volume.Writable, file ext4.Node) error {
		size := uint64(100)
		_, err := w.SetAttr(root, file, ext4.Attr{Size: &size})
		return err
	},
	"replace": func(w *volume.Writable, _ ext4.Node) error {
		r, err := w.Rename(root, ext4.Root, "other", ext4.Root, "file", 0)
		if err == nil && r.Last {
			err = w.Evict(r.Node)
		}
		return err
	},
}

// TestFault_Second has the device fail at each write and flush of an operation with its fsync and a checkpoint, by
// turns once and from then on; a second operation and a second fsync follow. What an fsync acknowledged is there after
// the next mount, no fsync succeeds after a failed flush, and varve's checker finds nothing but the note of an error.
func TestFault_Second(t *testing.T) {
	for name, do := range faulted {
		for _, fault := range []blockcache.Fault{blockcache.WriteError, blockcache.FlushError} {
			t.Run(name+", "+fault.String(), func(t *testing.T) {
				path := mkfs(t, "4M", "-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "64")
				image := must[[]byte](t)(os.ReadFile(path))
				hit := true
				for after := 0; hit && after < 40; after++ {
					hit = secondFault(t, bytes.Clone(image), do, fault, after, after%2 == 0)
				}
			})
		}
	}
}

// secondFault is one run, and reports whether the fault was met.
func secondFault(
	t *testing.T,
	image []byte,
	do func(w *volume.Writable, file ext4.Node) error,
	fault blockcache.Fault,
	after int,
	once bool,
) (hit bool) {
	t.Helper()
	ctx := context.Background()
	ram := blockcache.NewRAM(image)
	dev := blockcache.NewFaulty(ram)
	w := must[*volume.Writable](t)(volume.OpenOn(dev, volume.WriteOptions{}))
	file := mkfile(t, w, ext4.Root, "file", bytes.Repeat([]byte("o"), 9000))
	mkfile(t, w, ext4.Root, "other", bytes.Repeat([]byte("o"), 9000))
	if err := w.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	dev.Fail(fault, after, once)
	what := fmt.Sprintf("after %d, once %v", after, once)
	opErr := do(w, file)
	syncErr := w.Sync(ctx)
	checkErr := w.Store.Checkpoint()
	hit = opErr != nil || syncErr != nil || checkErr != nil
	_, markErr := w.Create(root, ext4.Root, "marker", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	again := w.Sync(ctx)
	if syncErr != nil && again == nil {
		t.Errorf("%s: the fsync after a failed one, %v, succeeds", what, syncErr)
	}
	if syncErr != nil && markErr == nil {
		t.Errorf("%s: a change after a failed flush, %v, is taken", what, syncErr)
	}
	if syncErr != nil && !errors.Is(markErr, ext4.ErrFailed) {
		t.Errorf("%s: the change after it: %v", what, markErr)
	}
	inMemory := contents(t, w, "file")
	if err := w.Close(); err == nil && (syncErr != nil || checkErr != nil) {
		t.Errorf("%s: unmounting says that all is well after %v, %v", what, syncErr, checkErr)
	}
	next, err := volume.OpenOn(ram, volume.WriteOptions{})
	if err != nil {
		t.Fatalf("%s: the next mount: %v", what, err)
	}
	if _, err := lookup(next, ext4.Root, "file"); err != nil {
		t.Errorf("%s: the file that was durable: %v", what, err)
	}
	if _, err := lookup(next, ext4.Root, "marker"); markErr == nil && again == nil && err != nil {
		t.Errorf("%s: what the second fsync acknowledged: %v", what, err)
	}
	if got := contents(t, next, "file"); again == nil && !bytes.Equal(got, inMemory) {
		t.Errorf("%s: the next mount reads %d other bytes than the %d before", what, len(got), len(inMemory))
	}
	if err := next.Close(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	fs := must[*ext4.FS](t)(ext4.Open(blockcache.Memory(ram.Bytes()), ext4.Options{}))
	v := must[*ext4.CheckReport](t)(fs.Check(nil))
	for _, p := range v.Problems {
		if p.What != "says that there are errors" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	return hit
}
