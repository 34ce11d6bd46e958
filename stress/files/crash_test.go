package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// form is a form of image, and how it is written.
type form struct {
	name string
	size string
	mkfs []string
	opts volume.WriteOptions

	overlay bool // the device is an overlay file over the image
}

// smallest is the smallest journal that mke2fs makes: 1,024 blocks.
var crashForms = []form{
	{"1k", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1"}, volume.WriteOptions{}, false},
	{"1k, data journalled", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1"},
		volume.WriteOptions{JournalData: true}, false},
	{"4k", "12M", []string{"-t", "ext4", "-b", "4096", "-J", "size=4"}, volume.WriteOptions{}, false},
	{"no checksums", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^metadata_csum"},
		volume.WriteOptions{}, false},
	{"ext3", "4M", []string{"-t", "ext3", "-b", "1024", "-J", "size=1"}, volume.WriteOptions{}, false},
	{"orphan_file", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "orphan_file"}, volume.WriteOptions{},
		false},
	{"fast_commit", "5M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1,fast_commit_size=256", "-O", "fast_commit"},
		volume.WriteOptions{}, false},
	{"overlay", "4M", []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"}, volume.WriteOptions{JournalData: true},
		true},
}

func (f form) image(t testing.TB) []byte {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	oracle.MustRun(t, "mke2fs", append(append([]string{"-q", "-F", "-N", "128"}, f.mkfs...), path, f.size)...)
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// device is what is recorded, and how it is opened.
func (f form) device(image []byte) (*blockcache.RAM, Opener) {
	if !f.overlay {
		return blockcache.NewRAM(bytes.Clone(image)), volume.OpenOn
	}
	base := blockcache.Memory(image)
	return blockcache.NewRAM(nil), func(d blockcache.Writable, o volume.WriteOptions) (*volume.Writable, error) {
		return volume.OpenOverlayOn(d, base, o)
	}
}

// explorer makes an explorer for traces of the form.
func (f form) explorer(image []byte, seed uint64, dir string) *Explorer {
	x := NewExplorer(seed, f.opts, dir)
	if f.overlay {
		_, x.Open = f.device(image)
		x.Image = func(device []byte) ([]byte, error) {
			o, _, err := blockcache.OpenOverlayOn(blockcache.NewRAM(device), blockcache.Memory(image), [64]byte{}, 0)
			if err != nil {
				return nil, err
			}
			p := make([]byte, len(image))
			_, err = o.ReadAt(p, 0)
			return p, err
		}
	}
	return x
}

// before is what the device of a trace held.
func (f form) before(image []byte) []byte {
	if f.overlay {
		return nil
	}
	return image
}

// record runs a workload of so many random steps, and returns its trace.
func (f form) record(image []byte, seed uint64, steps int) (*blockcache.Trace, *Model, error) {
	tr := &blockcache.Trace{}
	opts := f.opts
	opts.Commit = time.Hour
	ram, open := f.device(image)
	w, err := NewWorkload(blockcache.Record(ram, tr, 0), open, opts, seed, tr)
	if err != nil {
		return nil, nil, err
	}
	for range steps {
		if err := w.Step(); err != nil {
			w.Abandon()
			return nil, nil, fmt.Errorf("after %v: %w", w.Did, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, nil, fmt.Errorf("unmount: %w", err)
	}
	return tr, w.Model, nil
}

func wanted(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestCrash_Random explores crash states of random workloads on each form of image.
func TestCrash_Random(t *testing.T) {
	want := wanted("VARVE_CRASH_FS_STATES", 700) / len(crashForms)
	base := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range crashForms {
		t.Run(f.name, func(t *testing.T) {
			image := f.image(t)
			x := f.explorer(image, base, t.TempDir())
			x.Fsck, x.Stop = wanted("VARVE_CRASH_FSCK", 10), true
			if os.Geteuid() == 0 {
				x.Kernel, x.Mount = wanted("VARVE_CRASH_KERNEL", 100), func(path string) (State, error) {
					return kernelTree(t, path)
				}
			}
			for seed := base; x.States < want; seed++ {
				tr, m, err := f.record(image, seed, 60)
				if err == nil {
					err = x.Explore(f.before(image), tr, m, fmt.Sprintf("seed %d", seed))
				}
				if err != nil && !errors.Is(err, errEnough) {
					t.Fatalf("seed %d: %v\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Random/%s' ./stress/files", seed,
						err, seed, f.name)
				}
				for _, e := range x.Failed {
					t.Fatalf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Random/%s' ./stress/files", e, seed, f.name)
				}
			}
			fmt.Printf("%s: %d states, %d by e2fsck, %d by the kernel: %v\n", f.name, x.States, x.Judged, x.Mounted, x.Classes)
		})
	}
}

// kernelTree mounts an image with the kernel's ext4, which replays its journal, and reads its tree.
func kernelTree(t testing.TB, path string) (State, error) {
	dir, unmount := oracle.MountKernel(t, path, "rw")
	defer unmount()
	return DirTree(dir)
}

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
