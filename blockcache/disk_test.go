package blockcache_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
)

// smallLoop is a loop device of 8 MiB whose file has room for one: what the kernel writes back to it fails.
func smallLoop(t *testing.T) string {
	t.Helper()
	oracle.NeedRoot(t)
	dir := t.TempDir()
	oracle.MustRun(t, "mount", "-t", "tmpfs", "-o", "size=1m", "varve-test", dir)
	t.Cleanup(func() { oracle.MustRun(t, "umount", "-l", dir) })
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 8<<20); err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(oracle.MustRun(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { oracle.MustRun(t, "losetup", "--detach", device) })
	return device
}

// TestDisk_SyncError: Linux reports a failed writeback to one caller, once; Disk reports it to all, and to every later
// one.
func TestDisk_SyncError(t *testing.T) {
	d, err := blockcache.OpenDisk(smallLoop(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt(bytes.Repeat([]byte{1}, 4<<20), 0); err != nil {
		t.Fatal(err)
	}
	var errs [4]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = d.Sync() })
	}
	wg.Wait()
	for _, err := range append(errs[:], d.Sync(), d.Sync()) {
		if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a Sync of a device that has lost writes returned %v", err)
		}
	}
}

// TestDisk_CutShort: when another program cuts a file shorter, no later Sync says that what was written is durable. A
// file that became longer is as good as before.
func TestDisk_CutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := blockcache.OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt([]byte("behind the end"), 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1<<20 + 14, 2 << 20} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Sync(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), path) {
			t.Errorf("a Sync of a file that was cut short: %v", err)
		}
	}
}
