package volume_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// recoveries are the places that a journal is recovered from: how to open each on an image (or base) and another
// device, which may be nil.
var recoveries = map[string]struct {
	mkfs  []string
	other func(super *disk.Superblock) []byte
	after int // flushes of the other device that succeed before one fails: an overlay's map comes after its blocks
	open  func(image []byte, device, other blockcache.Writable) (*volume.Writable, error)
}{
	"in place": {
		[]string{"-t", "ext4", "-b", "1024", "-J", "size=1"}, nil, 0,
		func(_ []byte, device, _ blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenOn(device, volume.WriteOptions{})
		},
	},
	"beside": {
		[]string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"},
		func(super *disk.Superblock) []byte { return volume.NewLog(super, 1024) }, 0,
		func(_ []byte, device, other blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenBeside(device, other, volume.WriteOptions{})
		},
	},
	"overlay": {
		[]string{"-t", "ext4", "-b", "1024", "-J", "size=1"}, func(*disk.Superblock) []byte { return nil }, 1,
		func(image []byte, _, other blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenOverlayOn(other, blockcache.Memory(image), volume.WriteOptions{})
		},
	},
}

// TestRecovery_UnflushedJournal: a process ends between the write of an epoch and its flush. The next mount finds the
// epoch in the page cache and recovers it; if the power goes then, homes may be there, and the journal may have lost
// the epoch. The file system is whole nevertheless, and has what was durable.
func TestRecovery_UnflushedJournal(t *testing.T) {
	ctx := context.Background()
	for name, form := range recoveries {
		t.Run(name, func(t *testing.T) {
			image := must[[]byte](t)(os.ReadFile(mkfs(t, "8M", form.mkfs...)))
			super := must[*disk.Superblock](t)(ext4.ReadSuperblock(blockcache.Memory(image), 0))
			start := [2][]byte{image, nil}
			if form.other != nil {
				start[1] = form.other(super)
			}
			var trace blockcache.Trace
			device, other := blockcache.NewFaulty(blockcache.Record(blockcache.NewRAM(bytes.Clone(image)), &trace, 0)),
				blockcache.NewFaulty(blockcache.Record(blockcache.NewRAM(bytes.Clone(start[1])), &trace, 1))
			w := must[*volume.Writable](t)(form.open(image, device, other))
			mkfile(t, w, ext4.Root, "durable", []byte("durable"))
			if err := w.Store.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				name := fmt.Sprint("d", i)
				must[ext4.Inode](t)(w.Create(root, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeDir | 0o755}))
			}
			device.Fail(blockcache.FlushError, 0, false)
			other.Fail(blockcache.FlushError, form.after, false)
			if err := w.Sync(ctx); err == nil {
				t.Fatal("a failed flush was not reported")
			}
			_ = w.Abandon()
			device.Fail(blockcache.NoFault, 0, false)
			other.Fail(blockcache.NoFault, 0, false)
			first := len(trace.Events())
			w = must[*volume.Writable](t)(form.open(image, device, other))
			if w.Replayed == 0 {
				t.Fatal("nothing was recovered")
			}
			_ = w.Abandon()
			events := trace.Events()
			for end := first; end <= len(events); end++ {
				left := lateLost(events, first, end, start)
				w, err := form.open(image, blockcache.NewRAM(left[0]), blockcache.NewRAM(left[1]))
				if err != nil {
					t.Fatalf("cut after %d requests of recovery: %v", end-first, err)
				}
				if got := contents(t, w, "durable"); string(got) != "durable" {
					t.Errorf("cut after %d requests of recovery: %q", end-first, got)
				}
				if err := w.Store.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				err = w.View(func(fs *ext4.FS) error {
					v, err := fs.Check(nil)
					v.Problems = slices.DeleteFunc(v.Problems, func(p ext4.Problem) bool {
						return p.What == "says that there are errors" // so it does after a failed flush
					})
					if err == nil && len(v.Problems) > 0 {
						err = fmt.Errorf("%+v", v.Problems[:min(len(v.Problems), 3)])
					}
					return err
				})
				if err != nil {
					t.Errorf("cut after %d requests of recovery: %v", end-first, err)
				}
				_ = w.Abandon()
			}
		})
	}
}

// lateLost is what a power cut leaves after so many requests: of the writes before first what was flushed, and all
// later ones.
func lateLost(events []blockcache.Event, first, end int, start [2][]byte) [2][]byte {
	left := [2][]byte{bytes.Clone(start[0]), bytes.Clone(start[1])}
	for i, e := range events[:end] {
		covered := func(f blockcache.Event) bool { return f.Covers(e) }
		if e.Data != nil && (i >= first || slices.ContainsFunc(events[i:end], covered)) {
			left[e.Device] = e.Apply(left[e.Device], nil)
		}
	}
	return left
}
