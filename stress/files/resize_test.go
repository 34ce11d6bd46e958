package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// resizeForms are forms of images that grow to twelve times their size, on devices with old contents: the last group is
// filled, groups with copies of the superblock are added, and blocks of descriptors, of 16 groups each.
var resizeForms = []form{
	{"resize", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-g", "1024"}, volume.WriteOptions{}, false},
	{"resize ext3", "4M", []string{"-t", "ext3", "-b", "1024", "-J", "size=1", "-g", "1024"}, volume.WriteOptions{},
		false},
	{"resize meta_bg", "4M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-g", "1024", "-O",
		"meta_bg,^resize_inode"}, volume.WriteOptions{}, false},
	{"resize bigalloc", "8M", []string{"-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "bigalloc", "-C", "4096", "-g",
		"4096"}, volume.WriteOptions{}, false},
}

// resized is a file system with some files, on a larger device, and what growing it writes.
func (f form) resized(t testing.TB, seed uint64) (before []byte, tr *blockcache.Trace, m *Model) {
	t.Helper()
	ram := blockcache.NewRAM(bytes.Clone(f.image(t)))
	opts := f.opts
	opts.Commit = time.Hour
	w, err := NewWorkload(ram, volume.OpenOn, opts, seed, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := w.Step(); err != nil {
			t.Fatalf("after %v: %v", w.Did, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before = ram.Bytes()
	before = append(before, bytes.Repeat([]byte{0xa5}, 11*len(before)+300<<10)...)
	tr = &blockcache.Trace{}
	ram = blockcache.NewRAM(bytes.Clone(before))
	r, err := volume.ResizeOn(context.Background(), blockcache.Record(ram, tr, 0), volume.NewSize{}, opts)
	if err != nil || r.After <= 11*r.Before {
		t.Fatalf("%+v: %v", r, err)
	}
	return before, tr, &Model{States: []State{w.Model.Now()}}
}

// exploreResize looks at crash states of growing: the tree is what it was.
func (f form) exploreResize(t testing.TB, seed uint64, limit int) *Explorer {
	before, tr, m := f.resized(t, seed)
	x := NewExplorer(seed, f.opts, t.TempDir())
	x.Stop, x.Limit, x.Fsck, x.Inside = true, limit, wanted("VARVE_CRASH_FSCK", 3), 8
	if os.Geteuid() == 0 {
		x.Kernel, x.Mount = wanted("VARVE_CRASH_KERNEL", 40), func(path string) (State, error) { return kernelTree(t, path) }
	}
	sizes := map[uint64]bool{}
	x.Open = func(d blockcache.Writable, o volume.WriteOptions) (*volume.Writable, error) {
		w, err := volume.OpenOn(d, o)
		if err == nil {
			s := w.Superblock()
			sizes[uint64(s.Blocks)] = true
		}
		return w, err
	}
	if err := x.Explore(before, tr, m, fmt.Sprintf("seed %d", seed)); err != nil && !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if len(x.Failed) == 0 && len(sizes) < 3 {
		t.Errorf("the sizes of the states are %v: the old one, the new one and others were expected", sizes)
	}
	return x
}

// TestCrash_Resize explores crash states of making file systems larger: each is recovered to the same tree, and e2fsck
// finds nothing.
func TestCrash_Resize(t *testing.T) {
	want := wanted("VARVE_CRASH_FS_STATES", 160) / len(resizeForms)
	seed := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range resizeForms {
		t.Run(f.name, func(t *testing.T) {
			x := f.exploreResize(t, seed, want)
			for _, e := range x.Failed {
				t.Errorf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Resize/%s' ./stress/files", e, seed, f.name)
			}
			fmt.Printf("%s: %d states, %d by e2fsck, %d by the kernel: %v\n", f.name, x.States, x.Judged, x.Mounted, x.Classes)
		})
	}
}

// TestCrash_ResizeGoesOn: what a crash has left of growing is grown again, to the same size.
func TestCrash_ResizeGoesOn(t *testing.T) {
	f := resizeForms[0]
	before, tr, m := f.resized(t, 7)
	want := uint64(0)
	part := NewMedium(before)
	dir := t.TempDir()
	events := tr.Events()
	for k, e := range events {
		if e.Flush() || e.Mark != "" {
			continue
		}
		part.Apply(e, nil)
		if k%(len(events)/8) != 0 {
			continue
		}
		device := part.Clone()
		r, err := volume.ResizeOn(context.Background(), device, volume.NewSize{}, volume.WriteOptions{})
		if err != nil {
			t.Fatalf("event %d: %v", k, err)
		}
		if want == 0 {
			want = uint64(r.After)
		}
		path := dir + "/image"
		if err := writeFile(path, device); err != nil {
			t.Fatal(err)
		}
		oracle.Clean(t, path)
		got, err := imageTree(path)
		if err == nil {
			err = Same(m.Now(), got)
		}
		if err != nil || uint64(r.After) != want {
			t.Errorf("event %d: %d blocks, %d expected: %v", k, r.After, want, err)
		}
	}
	if _, err := ext4.ReadSuperblock(part, 0); err != nil || want == 0 {
		t.Error(err, want)
	}
}
