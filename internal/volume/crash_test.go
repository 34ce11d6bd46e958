package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// freezing is a device that stops taking writes at an instant, as when its machine loses power with an honest cache.
type freezing struct {
	blockcache.Writable
	frozen atomic.Bool
}

var errFrozen = errors.New("the power is gone")

func (f *freezing) WriteAt(p []byte, off int64) (int, error) {
	if f.frozen.Load() {
		return 0, errFrozen
	}
	return f.Writable.WriteAt(p, off)
}

func (f *freezing) Sync() error {
	if f.frozen.Load() {
		return errFrozen
	}
	return f.Writable.Sync()
}

// Discard leaves junk, as a device may.
func (f *freezing) Discard(off, n int64) error {
	if f.frozen.Load() {
		return errFrozen
	}
	return f.Writable.(blockcache.Discarder).Discard(off, n)
}

func (f *freezing) DiscardUnit() int64 { return 1 }

// trimUntil trims the whole file system until that fails.
func trimUntil(w *volume.Writable) {
	for {
		if _, err := w.Trim(context.Background(), ext4.TrimRange{Len: 1 << 40}); err != nil {
			return
		}
	}
}

// TestCrash_Concurrent lets writers append and replace files until the power goes, while free blocks are trimmed. It
// recovers, and checks: what was acknowledged is there, and varve's checker finds nothing wrong. Again and again on one
// image.
func TestCrash_Concurrent(t *testing.T) {
	rounds := 25
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprint("data journalled ", journal), func(t *testing.T) {
			t.Parallel()
			image, err := os.ReadFile(mkfs(t, "24M", "-t", "ext4", "-b", "1024", "-J", "size=1"))
			if err != nil {
				t.Fatal(err)
			}
			ram := blockcache.NewRAM(image)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			writers := make([]*appender, 6)
			for i := range writers {
				writers[i] = &appender{name: fmt.Sprint("w", i), rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			}
			for round := range rounds {
				dev := &freezing{Writable: ram}
				w, err := volume.OpenOn(dev, volume.WriteOptions{JournalData: journal, Commit: 5 * time.Millisecond})
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				var wg sync.WaitGroup
				for _, a := range writers {
					a.check(t, w, round)
					wg.Go(func() { a.run(w) })
				}
				wg.Go(func() { trimUntil(w) })
				time.Sleep(time.Duration(1+rng.IntN(30)) * time.Millisecond)
				dev.frozen.Store(true)
				wg.Wait()
				_ = w.Abandon()
				fs, err := ext4.Open(blockcache.Memory(ram.Bytes()), ext4.Options{})
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if v, err := fs.Check(nil); err != nil || !v.Clean() {
					t.Fatalf("round %d: %v, %+v", round, err, v.Problems[:min(len(v.Problems), 5)])
				}
			}
		})
	}
}

// appender appends records to a file and replaces another one, and knows what was acknowledged.
type appender struct {
	name  string
	rng   *rand.Rand
	acked int
}

func (a *appender) record(i int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%s %06d.", a.name, i)), recordBytes/10+1)[:recordBytes]
}

const recordBytes = 700

func (a *appender) run(w *volume.Writable) {
	ctx := context.Background()
	n, err := lookup(w, ext4.Root, a.name)
	if err != nil {
		if n, err = w.Create(root, ext4.Root, a.name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644}); err != nil {
			return
		}
	}
	for {
		i := a.acked
		if i > 900 {
			a.acked = 0 // it may be there or not
			if _, err := w.SetAttr(root, ext4.NodeOf(&n), ext4.Attr{Size: new(uint64)}); err != nil ||
				w.Sync(ctx) != nil {
				return
			}
			continue
		}
		if _, err := w.Write(root, ext4.NodeOf(&n), int64(i)*recordBytes, a.record(i), false); err != nil ||
			w.Sync(ctx) != nil {
			return
		}
		a.acked++
		if a.rng.IntN(3) == 0 && a.replace(w) != nil {
			return
		}
	}
}

// replace makes a file and moves it over another one, which is freed.
func (a *appender) replace(w *volume.Writable) error {
	n, err := w.Create(root, ext4.Root, a.name+".tmp", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	if errors.Is(err, ext4.ErrExists) {
		if n, err = lookup(w, ext4.Root, a.name+".tmp"); err == nil {
			_, err = w.SetAttr(root, ext4.NodeOf(&n), ext4.Attr{Size: new(uint64)})
		}
	}
	if err == nil {
		_, err = w.Write(root, ext4.NodeOf(&n), 0, bytes.Repeat([]byte(a.name), 1+a.rng.IntN(2000)), false)
	}
	if err != nil {
		return err
	}
	r, err := w.Rename(root, ext4.Root, a.name+".tmp", ext4.Root, a.name+".done", 0)
	if err == nil && r.Last {
		err = w.Evict(r.Node)
	}
	return err
}

func (a *appender) check(t *testing.T, w *volume.Writable, round int) {
	t.Helper()
	var got []byte
	err := w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(a.name, false)
		if err != nil {
			return err
		}
		got = make([]byte, n.Size)
		if _, err := n.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
	if errors.Is(err, ext4.ErrNotExist) && a.acked == 0 {
		return
	}
	if err != nil {
		t.Fatalf("round %d, %s: %v", round, a.name, err)
	}
	if len(got) < a.acked*recordBytes {
		t.Fatalf("round %d, %s: %d bytes, and %d records were acknowledged", round, a.name, len(got), a.acked)
	}
	for i := range a.acked {
		if p := got[i*recordBytes:][:recordBytes]; !bytes.Equal(p, a.record(i)) {
			t.Fatalf("round %d, %s: record %d of %d is wrong: %.60q", round, a.name, i, a.acked, p)
		}
	}
}
