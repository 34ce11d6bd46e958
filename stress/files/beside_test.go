package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

const externalForm = "external journal"

// besideForms are forms of images without a journal that have a log beside them, and one with an external journal.
var besideForms = []form{
	{"ext2", "4M", []string{"-t", "ext2", "-b", "1024"}, volume.WriteOptions{}, false},
	{"ext4", "4M", []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"}, volume.WriteOptions{}, false},
	{"ext4, data journalled", "4M", []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"},
		volume.WriteOptions{JournalData: true}, false},
	{externalForm, "4M", []string{"-t", "ext4", "-b", "1024", "-N", "128"}, volume.WriteOptions{}, false},
}

// pair is an image and the log beside it as one device, the image first, so that crash states are made of both.
type pair struct {
	image, log blockcache.Writable
	at         int64 // where the log begins
}

func must(p []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return p
}

func split(d blockcache.Writable, at int64) (pair, error) {
	image, err := blockcache.NewWindow(d, 0, at)
	if err != nil {
		return pair{}, err
	}
	log, err := blockcache.NewWindow(d, at, d.Size()-at)
	return pair{blockcache.NewWritableWindow(d, image), blockcache.NewWritableWindow(d, log), at}, err
}

// opener opens an image with its log from one device.
func opener(at int64) Opener {
	return func(d blockcache.Writable, o volume.WriteOptions) (*volume.Writable, error) {
		p, err := split(d, at)
		if err != nil {
			return nil, err
		}
		return volume.OpenBeside(p.image, p.log, o)
	}
}

// withLog is an image with a small log behind it, or its external journal.
func (f form) withLog(t testing.TB) (both []byte, at int64) {
	t.Helper()
	if f.name == externalForm {
		image, journal := oracle.External(t, f.size, "1M", f.mkfs...)
		p, q := must(os.ReadFile(image)), must(os.ReadFile(journal))
		return append(p, q...), int64(len(p))
	}
	image := f.image(t)
	super, err := ext4.ReadSuperblock(bytes.NewReader(image), 0)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(image), volume.NewLog(super, 1024)...), int64(len(image))
}

// besideTrace runs a workload on an image with a log beside it, as two devices.
func (f form) besideTrace(both []byte, at int64, seed uint64, steps int) (*blockcache.Trace, *Model, error) {
	tr := &blockcache.Trace{}
	p, err := split(blockcache.NewRAM(bytes.Clone(both)), at)
	if err != nil {
		return nil, nil, err
	}
	log := blockcache.Record(p.log, tr, 1)
	open := func(d blockcache.Writable, o volume.WriteOptions) (*volume.Writable, error) {
		return volume.OpenBeside(d, log, o)
	}
	return recordSteps(blockcache.Record(p.image, tr, 0), open, f.opts, seed, tr, steps)
}

// beside makes an explorer of images with a log that begins at a byte of the device.
func (f form) beside(t testing.TB, at int64, seed uint64) *Explorer {
	x := NewExplorer(seed, f.opts, t.TempDir())
	x.Open, x.At, x.Stop, x.Fsck = opener(at), []int64{0, at}, true, 1
	x.Image = func(device *Medium) (blockcache.Device, error) { return blockcache.NewWindow(device, 0, at) }
	if f.name == externalForm {
		x.Closed = func(device *Medium) error { return cleanExternal(x.Dir, device, at) }
	}
	return x
}

// cleanExternal has e2fsck look at an image with an external journal.
func cleanExternal(dir string, device *Medium, at int64) error {
	p, err := split(device, at)
	if err != nil {
		return err
	}
	image, journal := filepath.Join(dir, "closed"), filepath.Join(dir, "journal")
	if err := errors.Join(writeFile(image, p.image), writeFile(journal, p.log)); err != nil {
		return err
	}
	if out, err := exec.Command("e2fsck", "-fn", "-j", journal, image).CombinedOutput(); err != nil {
		return fmt.Errorf("after a clean unmount, e2fsck -fn: %w\n%s", err, out)
	}
	return nil
}

// TestCrash_Beside explores crash states of images with a log beside them, whose flushes do not reach each
// other: varve recovers each state, also after a crash inside recovery, and e2fsck finds nothing once it is unmounted.
func TestCrash_Beside(t *testing.T) {
	want := wanted("VARVE_CRASH_FS_STATES", 300) / len(besideForms)
	base := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range besideForms {
		t.Run(f.name, func(t *testing.T) {
			if f.name == externalForm {
				oracle.NeedRoot(t)
			}
			both, at := f.withLog(t)
			x := f.beside(t, at, base)
			x.Limit = want
			for seed := base; x.States < want; seed++ {
				tr, m, err := f.besideTrace(both, at, seed, 60)
				if err == nil {
					err = x.Explore(both, tr, m, fmt.Sprintf("seed %d", seed))
				}
				if err != nil && !errors.Is(err, errEnough) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for _, e := range x.Failed {
					t.Fatalf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Beside/%s' ./stress/files", e, seed, f.name)
				}
			}
			t.Logf("%d states: %v", x.States, x.Classes)
		})
	}
}

// TestCrash_BesideRecovery cuts the mount that recovers an image by the log beside it: after each crash of both,
// the next mount comes to the same tree.
func TestCrash_BesideRecovery(t *testing.T) {
	for _, f := range besideForms[:2] {
		t.Run(f.name, func(t *testing.T) {
			both, at := f.withLog(t)
			seed := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
			ram := blockcache.NewRAM(bytes.Clone(both))
			opts := f.opts
			opts.Commit = time.Hour
			w, err := NewWorkload(ram, opener(at), opts, seed, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.closed = true
			for range 40 {
				if err := w.Step(); err != nil {
					t.Fatalf("after %v: %v", w.Did, err)
				}
			}
			if err := w.Sync(""); err != nil {
				t.Fatal(err)
			}
			w.Abandon()
			crashed := bytes.Clone(ram.Bytes())
			tr := &blockcache.Trace{}
			tr.Note(fmt.Sprintf("sync %d", len(w.Model.States)-1))
			p, err := split(ram, at)
			if err != nil {
				t.Fatal(err)
			}
			again, err := volume.OpenBeside(blockcache.Record(p.image, tr, 0), blockcache.Record(p.log, tr, 1), opts)
			if err != nil {
				t.Fatal(err)
			}
			_ = again.Abandon()
			x := f.beside(t, at, seed)
			if err := x.Explore(crashed, tr, w.Model, fmt.Sprintf("seed %d", seed)); err != nil && !errors.Is(err, errEnough) {
				t.Fatal(err)
			}
			for _, e := range x.Failed {
				t.Errorf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_BesideRecovery/%s' ./stress/files",
					e, seed, f.name)
			}
			if x.States < 5 {
				t.Errorf("only %d states", x.States)
			}
			t.Logf("%d states: %v", x.States, x.Classes)
		})
	}
}
