package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestMount_Shared: two mounts of one image, one of which writes, are refused in either order, and two that read are not.
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

// TestMount_LoopMounted: an image that the kernel has mounted through a loop device is refused, unless told otherwise.
func TestMount_LoopMounted(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image, dir := rwImage(t, "16M"), t.TempDir()
	_, unmount := oracle.MountKernel(t, image, "rw")
	for _, args := range [][]string{nil, {"--rw"}, {"--overlay", filepath.Join(t.TempDir(), "overlay")}} {
		if r := varve(t, append([]string{"mount", image, dir}, args...)...); r.Code != exitMount || !strings.Contains(r.Stderr, "loop device") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	must(t, "mount", image, dir, "-o", "no_lock")
	must(t, "umount", dir)
	unmount()
	_, unmount = oracle.MountKernel(t, image, "ro")
	must(t, "mount", image, dir)
	must(t, "umount", dir)
	if r := varve(t, "mount", "--rw", image, dir); r.Code != exitMount {
		t.Errorf("written below a mount of the kernel's: %+v", r)
	}
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
	if r := varve(t, "info", "--json", image); !strings.Contains(r.Stdout, `"readable": false`) || !strings.Contains(r.Stdout, "root directory") {
		t.Errorf("varve info: %+v", r)
	}
}

// TestUmount_Bind: the end of a bind mount is not the end of the daemon, and waits for nothing.
func TestUmount_Bind(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	dir, unmount := mountImage(t, rwImage(t, "16M"), "--rw")
	bound := t.TempDir()
	if err := unix.Mount(dir, bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	must(t, "umount", "--timeout", "2s", bound)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the mount itself is gone: %v", err)
	}
	unmount()
}

// TestUmount_BusyForAMoment: a mount that is busy for a moment is tried again.
func TestUmount_BusyForAMoment(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	dir := t.TempDir()
	mountPid(t, rwImage(t, "16M"), dir, "rw")
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan program.Result, 1)
	go func() { done <- varve(t, "umount", dir) }()
	waitFor(t, func() bool { return len(program.DaemonsOf(t, dir)) > 1 }) // umount runs
	f.Close()
	if r := <-done; r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

// TestUmount_FailedFlush: unmounting says so when the daemon could not write what it had.
func TestUmount_FailedFlush(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, 0)
	image, dir := filepath.Join(small, "image"), t.TempDir()
	oracle.MustRun(t, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", image, "64M")
	pid := mountPid(t, image, dir, "rw,commit=3600")
	_ = os.WriteFile(filepath.Join(dir, "large"), make([]byte, 16<<20), 0o644)
	r := varve(t, "umount", dir)
	if r.Code != exitMount || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("the device is full: %+v", r)
	}
	waitFor(t, func() bool { return syscall.Kill(pid, 0) != nil || len(program.DaemonsOf(t, dir)) == 0 })
}

// TestUmount_Killed: unmounting says so when the daemon was killed before it had written everything.
func TestUmount_Killed(t *testing.T) {
	oracle.NeedFUSE(t)
	dir := t.TempDir()
	pid := mountPid(t, rwImage(t, "16M"), dir, "rw")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done := make(chan program.Result, 1)
	go func() { done <- varve(t, "umount", dir) }()
	waitFor(t, func() bool { info, err := daemon.FindMount(dir); return err == nil && info == nil })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Code != exitMount || !strings.Contains(r.Stderr, "killed") {
		t.Errorf("%+v", r)
	}
}
