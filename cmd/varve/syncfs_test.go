package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// needSyncFS skips a test where the kernel does not pass syncfs(2) on, as Linux does from 6.18 on, or makes no loop
// device.
func needSyncFS(t *testing.T) {
	t.Helper()
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image, dir := rwImage(t, "8M"), t.TempDir()
	if r := varve(t, "mount", image, dir, "-o", "rw,syncfs"); r.Code != 0 {
		t.Skipf("SKIP: %s", r.Stderr)
	}
	must(t, "umount", dir)
}

// TestSyncFS kills the daemon after sync(2) and syncfs(2). With -o syncfs both reach it; without, the kernel keeps them
// to itself.
func TestSyncFS(t *testing.T) {
	needSyncFS(t)
	syncfs := func(_ *testing.T, dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }
	sync := func(t *testing.T, _ *os.File) error { return syncAll(t) }
	for _, c := range []struct {
		name, options string
		sync          func(t *testing.T, dir *os.File) error
		durable       bool
	}{
		{"syncfs", "rw,syncfs", syncfs, true},
		{"syncfs, writeback", "rw,syncfs,writeback_cache", syncfs, true},
		{"sync", "rw,syncfs", sync, true},
		{"syncfs of a plain mount", "rw", syncfs, false},
		{"sync of a plain mount", "rw", sync, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := syncThenKill(t, c.options, c.sync); got != c.durable {
				t.Errorf("after a crash, what was written is there: %v, want %v", got, c.durable)
			}
		})
	}
}

// syncAll calls sync(2), in a process of its own: it waits for every file system of the machine, and where one of them
// has hung, for ever. syncfs(2) has shown by then that varve's mount is not the one.
func syncAll(t *testing.T) error {
	t.Helper()
	sync := exec.Command("sync")
	if err := sync.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- sync.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Skip("SKIP: sync(2) does not return: a file system of this machine has hung")
		return nil
	}
}

// syncThenKill writes a file that it leaves open, calls sync, kills the daemon, and reports whether the contents are
// there.
func syncThenKill(t *testing.T, options string, sync func(t *testing.T, dir *os.File) error) bool {
	t.Helper()
	image, dir := rwImage(t, "32M"), t.TempDir()
	pid := mountPid(t, image, dir, options+",commit=3600")
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("written"); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	defer f.Close()
	if err := sync(t, root); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	root.Close()
	f.Close()
	must(t, "umount", dir)
	return varve(t, "cat", image, "/file").Stdout == "written"
}

// TestSyncFS_Umount: when umount(2) returns, the image is released, and clean.
func TestSyncFS_Umount(t *testing.T) {
	needSyncFS(t)
	if !freeAfterUmount(t) {
		t.Error("umount(2) returned, and the image was still locked")
	}
}

// freeAfterUmount loads a mount, unmounts it, and reports whether the image could be locked at once.
func freeAfterUmount(t *testing.T) bool {
	t.Helper()
	image, dir := rwImage(t, "64M"), t.TempDir()
	must(t, "mount", image, dir, "-o", "rw,syncfs")
	for i := range 500 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 20_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	waitFor(t, func() bool { return unix.Unmount(dir, 0) == nil })
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	oracle.MustRun(t, "e2fsck", "-fn", image)
	return true
}
