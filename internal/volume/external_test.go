package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestExternal writes to images with external journals, and leaves their recovery to varve, e2fsck and the kernel.
func TestExternal(t *testing.T) {
	for name, args := range map[string][]string{
		"default": {"-t", "ext4", "-b", "4096"}, "1k": {"-t", "ext4", "-b", "1024"}, "ext3": {"-t", "ext3", "-b", "4096"},
	} {
		image, journal := oracle.External(t, "32M", "8M", args...)
		spec := volume.Spec{Image: image, Journal: journal}
		_, err := volume.OpenWritable(volume.Spec{Image: image}, volume.WriteOptions{})
		if !errors.Is(err, ext4.ErrNeedsJournal) {
			t.Errorf("%s: without its journal: %v", name, err)
		}
		_, foreign := oracle.External(t, "32M", "8M", args...)
		_, err = volume.OpenWritable(volume.Spec{Image: image, Journal: foreign}, volume.WriteOptions{})
		if !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%s: with another one's journal: %v", name, err)
		}
		w := must[*volume.Writable](t)(volume.OpenWritable(spec, volume.WriteOptions{}))
		for i := range 5 {
			mkfile(t, w, ext4.Root, fmt.Sprint("f", i), bytes.Repeat([]byte{byte('a' + i)}, 9000))
			if err := w.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Abandon(); err != nil {
			t.Fatal(err)
		}
		judgeExternal(t, name, image, journal)
		w = must[*volume.Writable](t)(volume.OpenWritable(spec, volume.WriteOptions{}))
		if w.Replayed == 0 {
			t.Errorf("%s: nothing was recovered", name)
		}
		mkfile(t, w, ext4.Root, "more", []byte("more"))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if s := superOf(t, image); s.Incompat&disk.IncompatRecover != 0 {
			t.Errorf("%s: it needs recovery after a clean unmount", name)
		}
		oracle.CleanExternal(t, image, journal)
		v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: image}))
		if names := list(t, v, "/"); len(names) != 9 {
			t.Errorf("%s: names %v", name, names)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// judgeExternal has e2fsck and the kernel recover copies of an image and its journal: five files are there.
func judgeExternal(t *testing.T, name, image, journal string) {
	t.Helper()
	copied, log := oracle.Copy(t, image), oracle.Copy(t, journal)
	out, err := exec.Command("e2fsck", "-fy", "-j", log, copied).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		t.Errorf("%s: e2fsck -j: %v\n%s", name, err, out)
	}
	oracle.CleanExternal(t, copied, log)
	v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: copied}))
	if names := list(t, v, "/"); len(names) != 8 {
		t.Errorf("%s: recovered by e2fsck: %v\n%s", name, names, out)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	copied, log = oracle.Copy(t, image), oracle.Copy(t, journal)
	device, detach := oracle.Loop(t, log)
	dir, unmount := oracle.MountKernel(t, copied, "rw,journal_path="+device)
	if len(oracle.Tree(t, dir)) < 6 {
		t.Errorf("%s: recovered by the kernel: %v", name, oracle.Tree(t, dir))
	}
	unmount()
	detach()
	oracle.CleanExternal(t, copied, log)
}
