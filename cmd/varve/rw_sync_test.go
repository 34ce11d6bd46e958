package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// TestRW_DirectSync kills the daemon after direct writes that were to be durable when they returned: O_SYNC, O_DSYNC,
// RWF_DSYNC. No other commit comes meanwhile.
func TestRW_DirectSync(t *testing.T) {
	oracle.NeedFUSE(t)
	for name, c := range map[string]struct {
		flags int
		write func(f *os.File, p []byte) error
	}{
		"O_SYNC":  {unix.O_SYNC, write},
		"O_DSYNC": {unix.O_DSYNC, write},
		"RWF_DSYNC": {0, func(f *os.File, p []byte) error {
			_, err := unix.Pwritev2(int(f.Fd()), [][]byte{p}, 0, unix.RWF_DSYNC)
			return err
		}},
	} {
		for _, options := range []string{"rw", "rw,data=journal", "rw,writeback_cache"} {
			t.Run(name+" "+options, func(t *testing.T) {
				t.Parallel()
				if got := directSync(t, options, c.flags, c.write); !got {
					t.Error("after a crash, what was acknowledged is not there")
				}
			})
		}
	}
}

// directSync mounts an image, writes to a file, kills the daemon, and reports whether the contents are there.
func directSync(t *testing.T, options string, flags int, write func(f *os.File, p []byte) error) bool {
	t.Helper()
	image, dir := rwImage(t, "32M"), t.TempDir()
	pid := mountPid(t, image, dir, options+",commit=3600")
	path := filepath.Join(dir, "file")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_DIRECT|flags, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil { // the name; what is written is left
		t.Fatal(err)
	}
	p, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	copy(p, bytes.Repeat([]byte("durable "), 1024))
	if err := write(f, p); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.Close()
	must(t, "umount", dir)
	return must(t, "cat", image, "/file").Stdout == string(p)
}

func write(f *os.File, p []byte) error {
	_, err := f.WriteAt(p, 0)
	return err
}
