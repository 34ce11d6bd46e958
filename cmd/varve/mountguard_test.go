package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
)

// TestMount_Shared: two mounts of one image, one of which writes, are refused in either order, and two that read are
// not.
func TestMount_Shared(t *testing.T) {
	oracle.NeedFUSE(t)
	image := rwImage(t, "16M")
	overlay := filepath.Join(t.TempDir(), "overlay")
	for _, c := range []struct {
		first, second []string
		refused       bool
	}{
		{nil, nil, false},
		{nil, []string{"--rw"}, true},
		{[]string{"--rw"}, nil, true},
		{[]string{"--rw"}, []string{"--rw"}, true},
		{[]string{"--rw"}, []string{"--overlay", overlay}, true},
		{[]string{"--overlay", overlay}, []string{"--rw"}, true},
		{[]string{"--overlay", overlay}, nil, false},
		{[]string{"--rw"}, []string{"-o", "no_lock"}, false},
	} {
		_, unmount := mountImage(t, image, c.first...)
		dir := t.TempDir()
		r := varve(t, append([]string{"mount", image, dir}, c.second...)...)
		if refused := r.Code != 0; refused != c.refused {
			t.Errorf("%v, then %v: %+v", c.first, c.second, r)
		}
		if r.Code == 0 {
			must(t, "umount", dir)
		} else if r.Code != exitMount {
			t.Errorf("%v, then %v: exit code %d", c.first, c.second, r.Code)
		}
		unmount()
		os.Remove(overlay)
	}
}

// TestMount_LoopMounted: an image that the kernel has mounted through a loop device is refused without no_lock.
func TestMount_LoopMounted(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image, dir := rwImage(t, "16M"), t.TempDir()
	_, unmount := oracle.MountKernel(t, image, "rw")
	refused := func(args ...string) {
		r := varve(t, append([]string{"mount", image, dir}, args...)...)
		if r.Code != exitMount || !strings.Contains(r.Stderr, "loop device") {
			t.Errorf("%v: %+v", args, r)
		}
		if r.Code == exitOK {
			must(t, "umount", dir)
		}
	}
	refused()
	refused("--rw")
	refused("--overlay", filepath.Join(t.TempDir(), "overlay"))
	must(t, "mount", image, dir, "-o", "no_lock")
	must(t, "umount", dir)
	unmount()
	_, unmount = oracle.MountKernel(t, image, "ro")
	must(t, "mount", image, dir)
	must(t, "umount", dir)
	refused("--rw")
	unmount()
}

// TestMount_DamagedRoot: an image without a root directory is refused, by name, and leaves no mount behind.
func TestMount_DamagedRoot(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := rwImage(t, "16M", "-O", "^metadata_csum"), t.TempDir()
	oracle.MustRun(t, "debugfs", "-w", "-R", "sif <2> mode 0100644", image)
	for _, args := range [][]string{nil, {"--rw"}} {
		r := varve(t, append([]string{"mount", image, dir}, args...)...)
		if r.Code == 0 || !strings.Contains(r.Stderr, "root directory") {
			t.Errorf("%v: %+v", args, r)
		}
		if info, err := daemon.FindMount(dir); err != nil || info != nil {
			t.Errorf("%v: a mount is left: %v, %v", args, info, err)
		}
	}
	if r := varve(t, "info", "--json", image); !strings.Contains(r.Stdout, `"readable": false`) ||
		!strings.Contains(r.Stdout, "root directory") {
		t.Errorf("varve info: %+v", r)
	}
}
