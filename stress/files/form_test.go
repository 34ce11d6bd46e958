package files

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
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
	{"8k", "18M", []string{"-t", "ext4", "-b", "8192", "-J", "size=8"}, volume.WriteOptions{}, false},
	{"inline_data", "4M", []string{"-t", "ext4", "-b", "1024", "-I", "256", "-J", "size=1", "-O", "inline_data"},
		volume.WriteOptions{}, false},
	{"quota", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "quota,project"},
		volume.WriteOptions{}, false},
	{"ea_inode", "4M", []string{"-t", "ext4", "-b", "1024", "-I", "256", "-J", "size=1", "-O", "ea_inode"},
		volume.WriteOptions{}, false},
	{"bigalloc", "8M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "bigalloc", "-C", "4096"},
		volume.WriteOptions{}, false},
	{"groups", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-g", "1024"}, volume.WriteOptions{}, false},
}

// largeForms have blocks that are too large for images of which many crash states are made.
var largeForms = []form{
	{"16k ext3", "36M", []string{"-t", "ext3", "-b", "16384", "-J", "size=16"}, volume.WriteOptions{}, false},
	{"32k", "72M", []string{"-t", "ext4", "-b", "32768", "-J", "size=32"}, volume.WriteOptions{}, false},
	{"64k, data journalled", "144M", []string{"-t", "ext4", "-b", "65536", "-J", "size=64"},
		volume.WriteOptions{JournalData: true}, false},
	{"64k ext2", "16M", []string{"-t", "ext2", "-b", "65536"}, volume.WriteOptions{}, false},
	{"64k overlay", "16M", []string{"-t", "ext4", "-b", "65536", "-O", "^has_journal"},
		volume.WriteOptions{JournalData: true}, true},
}

// kernel reports whether the kernel mounts the form: most mount no blocks of more than a page, and some have no quota.
func (f form) kernel() bool {
	if f.name == "quota" {
		return false
	}
	i := slices.Index(f.mkfs, "-b")
	return i < 0 || len(f.mkfs[i+1]) == 4 && f.mkfs[i+1] <= "4096"
}

// image makes an image of the form on a device that was full of old contents: none of them may ever show.
func (f form) image(t testing.TB) []byte {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	size := 0
	if _, err := fmt.Sscanf(f.size, "%dM", &size); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, size<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "mke2fs", append(append([]string{"-q", "-F", "-N", "128", "-E",
		"nodiscard,lazy_itable_init=1,lazy_journal_init=1"}, f.mkfs...), path, f.size)...)
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
		x.Image = func(device *Medium) (blockcache.Device, error) {
			o, _, err := blockcache.OpenOverlayOn(device.Clone(), blockcache.Memory(image), [64]byte{}, 0)
			return o, err
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
	ram, open := f.device(image)
	return recordSteps(blockcache.Record(ram, tr, 0), open, f.opts, seed, tr, steps)
}

// recordSteps does random operations on a device whose events go to tr, and returns tr and the model of the tree.
func recordSteps(d blockcache.Writable, open Opener, opts volume.WriteOptions, seed uint64, tr *blockcache.Trace,
	steps int) (*blockcache.Trace, *Model, error) {
	opts.Commit = time.Hour
	w, err := NewWorkload(d, open, opts, seed, tr)
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
