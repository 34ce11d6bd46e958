package oracle

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MountKernel mounts an image with the kernel's ext4 until the test ends, or until the returned function is called.
func MountKernel(t testing.TB, image, options string) (dir string, unmount func()) {
	t.Helper()
	NeedRoot(t)
	dir = filepath.Join(t.TempDir(), "kernel")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Not -o loop: with ro that makes the device itself read-only, and the kernel could not recover its journal.
	device, detach := Loop(t, image)
	mountTwice(t, "-t", "ext4", "-o", "noatime,"+options, device, dir)
	done := false
	unmount = func() {
		if !done {
			done = true
			MustRun(t, "umount", dir)
			detach()
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// mountTwice runs mount, and once more where it fails: beside other tests that take and give back loop devices the
// kernel has refused an external journal on one, and suppressed the reason. An image that it refuses, it refuses twice.
func mountTwice(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Logf("mount %s: %v, tried again\n%s", strings.Join(args, " "), err, out)
		time.Sleep(500 * time.Millisecond)
		MustRun(t, "mount", args...)
	}
}

// Mountable reports whether the kernel's ext4 mounts an image, and writes to it.
func Mountable(t testing.TB, image string) bool {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	device, detach := Loop(t, image)
	defer detach()
	if out, err := exec.Command("mount", "-t", "ext4", device, dir).CombinedOutput(); err != nil {
		t.Logf("the kernel does not mount it: %s", out)
		return false
	}
	MustRun(t, "umount", dir)
	return true
}

// NewImage makes an image of size bytes with mkfs.ext4 and the given arguments.
func NewImage(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	Need(t, "mkfs.ext4")
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	MustRun(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-E", "nodiscard"}, mkfs...), path)...)
	return path
}

// Copy copies an image, with its holes.
func Copy(t testing.TB, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	MustRun(t, "cp", "--sparse=always", image, to)
	return to
}

// Loop attaches an image to a loop device until the test ends, or until the returned function is called.
func Loop(t testing.TB, image string) (device string, detach func()) {
	t.Helper()
	NeedRoot(t)
	device = strings.TrimSpace(MustRun(t, "losetup", "--find", "--show", image))
	done := false
	detach = func() {
		if !done {
			done = true
			MustRun(t, "losetup", "--detach", device)
		}
	}
	t.Cleanup(detach)
	return device, detach
}
