package main

import (
	"errors"
	"fmt"
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

// TestUmount_FailedFlush: unmounting says so when the daemon could not write what it had. The image lies where there is
// no room even for its journal.
func TestUmount_FailedFlush(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, 0)
	image, dir := filepath.Join(small, "image"), t.TempDir()
	oracle.MustRun(t, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
		image, "64M")
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

// TestUmount_Deleted: an image, its journal or an overlay that was deleted or replaced beneath a mount goes on to take
// writes; unmounting says that they are lost.
func TestUmount_Deleted(t *testing.T) {
	oracle.NeedFUSE(t)
	for name, c := range map[string]struct {
		options string // %s: a file beside the image
		end     func(image, other string) error
		lost    bool
	}{
		"deleted":         {"rw", func(image, _ string) error { return os.Remove(image) }, true},
		"replaced":        {"rw", os.Rename, true},
		"overlay":         {"overlay=%s", func(_, other string) error { return os.Remove(other) }, true},
		"base of overlay": {"overlay=%s", func(image, _ string) error { return os.Remove(image) }, true},
		"moved":           {"rw", func(image, _ string) error { return os.Rename(image, image+".moved") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			image, dir := rwImage(t, "16M"), t.TempDir()
			other := filepath.Join(t.TempDir(), "other")
			options := c.options
			if strings.Contains(options, "%s") {
				options = fmt.Sprintf(options, other)
			}
			mountPid(t, image, dir, options)
			if name == "replaced" {
				if err := os.WriteFile(other, []byte("another one"), 0o600); err != nil {
					t.Fatal(err)
				}
				image, other = other, image
			}
			if err := c.end(image, other); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("later"), 0o600); err != nil {
				t.Errorf("the mount does not go on: %v", err)
			}
			r := varve(t, "umount", dir)
			if c.lost && (r.Code != exitMount || !strings.Contains(r.Stderr, "was deleted or replaced")) ||
				!c.lost && r.Code != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestUmount_CutShort: an image that was cut short beneath a mount takes no more writes for durable, and unmounting
// says so. One that was moved or became longer is as good as before.
func TestUmount_CutShort(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := rwImage(t, "16M"), t.TempDir()
	mountPid(t, image, dir, "rw,commit=3600")
	moved := image + ".moved"
	if err := os.Rename(image, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(moved, 32<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() error {
		if _, err := f.Write(make([]byte, 100<<10)); err != nil {
			return err
		}
		return f.Sync()
	}
	if err := write(); err != nil {
		t.Errorf("an image that was moved and made longer: %v", err)
	}
	if err := os.Truncate(moved, 0); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync on an image that was cut short: %v", err)
	}
	f.Close()
	if r := varve(t, "umount", dir); r.Code != exitMount || !strings.Contains(r.Stderr, "cut short") {
		t.Errorf("%+v", r)
	}
}
