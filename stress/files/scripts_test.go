package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// script runs a script and leaves the file system as a crash would.
func (f form) script(image []byte, seed uint64, do func(*Workload) error) (*blockcache.Trace, *Model, error) {
	tr := &blockcache.Trace{}
	opts := f.opts
	opts.Commit = time.Hour
	ram, open := f.device(image)
	w, err := NewWorkload(blockcache.Record(ram, tr, 0), open, opts, seed, tr)
	if err != nil {
		return nil, nil, err
	}
	defer w.Abandon()
	w.closed = true
	return tr, w.Model, do(w)
}

// reuse frees blocks of metadata and has them used again for data at once, on a file system that is nearly full.
func reuse(w *Workload) error {
	if err := w.Create("/full", 'f', ""); err != nil {
		return err
	}
	grow := func(p string, limit int) error {
		for range limit {
			if err := w.Write(p, len(w.Model.Now()[p].Data), w.content(1024)); err != nil {
				return ignoreFull(err)
			}
		}
		return nil
	}
	stat, err := w.w.Stat()
	if err != nil {
		return err
	}
	if err := w.Write("/full", 0, w.content(int(stat.Free-64)*1024)); err != nil { // at once, and the rest in blocks
		return err
	}
	if err := grow("/full", 100); err != nil {
		return err
	}
	if err := w.Sync(""); err != nil {
		return err
	}
	for i := range 4 {
		d, f := fmt.Sprintf("/d%d", i), fmt.Sprintf("/f%d", i)
		for _, step := range []func() error{
			func() error { return w.Truncate("/full", len(w.Model.Now()["/full"].Data)-4096) },
			func() error { return w.Sync("") },
			func() error { return w.Create(d, 'd', "") },
			func() error { return w.Create(d+"/x", 'f', "") },
			func() error { return w.Create(f, 'f', "") },
			func() error { return w.Sync("") },
			func() error { return grow(f, 3) },
			func() error { return w.Remove(d + "/x") },
			func() error { return w.Remove(d) },
			func() error { return grow(f, 2) },
			func() error { return w.Sync("") },
			func() error { return grow(f, 2) },
			func() error { return w.Sync("") },
			func() error { return w.Truncate("/full", len(w.Model.Now()["/full"].Data)-2048) },
			func() error { return grow(f, 2) }, // not before the freed blocks may be used
			func() error { return w.Checkpoint() },
		} {
			if err := ignoreFull(step()); err != nil {
				return err
			}
		}
	}
	return nil
}

func ignoreFull(err error) error {
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// fill writes more than the journal holds, without a sync.
func fill(w *Workload) error {
	for i := range 40 {
		p := fmt.Sprintf("/f%d", i%4)
		if w.Model.Now()[p] == nil {
			if err := w.Create(p, 'f', ""); err != nil {
				return err
			}
		}
		if err := w.Write(p, 0, w.content(100<<10)); err != nil {
			return err
		}
	}
	for i := range 600 {
		if err := w.Create(fmt.Sprintf("/l%d", i%60), 'l', fmt.Sprint("target", i)); err != nil {
			return err
		}
		if err := w.Remove(fmt.Sprintf("/l%d", i%60)); err != nil {
			return err
		}
		if i%3 == 0 {
			if err := w.Sync(""); err != nil {
				return err
			}
		}
	}
	return nil
}

// reserveFast sets the journal's own feature, which the kernel sets when it mounts: the last 256 blocks are for fast
// commits.
func reserveFast(t *testing.T, image []byte) {
	t.Helper()
	fs, err := ext4.Open(blockcache.Memory(image), ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	places, _, err := fs.JournalPlaces()
	if err != nil {
		t.Fatal(err)
	}
	p := image[fs.Superblock().BlockSize.Offset(places[0]):]
	super, err := jbd2.DecodeSuperblock(p)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(p[0x54:], 256)
	super.PutFeatures(p, super.Compat, super.Incompat|jbd2.IncompatFastCommit)
}
