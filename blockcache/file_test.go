package blockcache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// numbered is a file of so many bytes, each the number of its block of 512.
func numbered(t *testing.T, length int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, length)
	for i := range data {
		data[i] = byte(i / Sector)
	}
	path = filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// TestOpenFile_Refuses: what is neither a file with contents nor a block device.
func TestOpenFile_Refuses(t *testing.T) {
	dir := t.TempDir()
	empty, pipe := filepath.Join(dir, "empty"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "directory",
		"/dev/null":                   "character device",
		pipe:                          "neither a file nor a block device",
		empty:                         "empty",
		filepath.Join(dir, "missing"): "no such file",
	} {
		if f, err := OpenFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error with %q", path, f, err, want)
		}
	}
}

// TestFile_Bounds: reads and slices within the file have its bytes; those outside have none.
func TestFile_Bounds(t *testing.T) {
	path, data := numbered(t, 5000)
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Advise(0, 1<<20) // advice beyond the end is no error
	if f.Size() != 5000 {
		t.Errorf("size %d", f.Size())
	}
	for _, c := range []struct{ off, n, got int }{
		{0, 10, 10}, {4096, 904, 904}, {4999, 1, 1}, {4990, 20, 10}, {5000, 1, 0}, {6000, 1, 0},
	} {
		p := make([]byte, c.n)
		n, err := f.ReadAt(p, int64(c.off))
		if n != c.got || (err == io.EOF) != (c.got < c.n) || !bytes.Equal(p[:n], data[min(c.off, 5000):][:n]) {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	for _, c := range []struct {
		off int64
		n   int
		ok  bool
	}{{0, 5000, true}, {4999, 1, true}, {5000, 0, true}, {0, 5001, false}, {-1, 1, false}, {1, -1, false},
		{1 << 62, 1, false}} {
		if p := f.Slice(c.off, c.n); (p != nil) != c.ok || c.ok && (len(p) != c.n || cap(p) != c.n) {
			t.Errorf("a slice of %d at %d: %d bytes, room for %d", c.n, c.off, len(p), cap(p))
		}
	}
}

// TestDisk_Locks: one program has a disk for writing; another cannot open it, nor share it for reading, until it is
// closed.
func TestDisk_Locks(t *testing.T) {
	path, _ := numbered(t, 4096)
	d, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := OpenDisk(path); !errors.Is(err, syscall.EWOULDBLOCK) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one: %v, %v", other, err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Share(); !errors.Is(err, ErrLocked) {
		t.Errorf("sharing a file that is written: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Share(); err != nil {
		t.Fatal(err)
	}
	if other, err := OpenDisk(path); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("writing a file that is shared: %v, %v", other, err)
	}
}

// TestDisk_Grows: writes behind the end extend a disk; CreateDisk extends a shorter file, and leaves a longer one.
func TestDisk_Grows(t *testing.T) {
	path, data := numbered(t, 4096)
	for _, c := range []struct{ ask, want int64 }{{0, 4096}, {100, 4096}, {8192, 8192}} {
		d, err := CreateDisk(path, c.ask)
		if err != nil {
			t.Fatal(err)
		}
		if d.Size() != c.want {
			t.Errorf("created with %d: %d bytes, want %d", c.ask, d.Size(), c.want)
		}
		p := make([]byte, 4096)
		if _, err := d.ReadAt(p, 0); err != nil || !bytes.Equal(p, data) {
			t.Errorf("created with %d: its contents are gone, %v", c.ask, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt([]byte("end"), 10000); err != nil || d.Size() != 10003 {
		t.Errorf("%v, %d bytes", err, d.Size())
	}
	if _, err := d.WriteAt([]byte("start"), 0); err != nil || d.Size() != 10003 {
		t.Errorf("%v, %d bytes", err, d.Size())
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDisk(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing disk: %v", err)
	}
	if _, err := OpenDisk("/dev/null"); err == nil {
		t.Error("a character device is a disk")
	}
}

// TestShared_BesideDisk: what one writes the other reads, and a shared file takes no lock.
func TestShared_BesideDisk(t *testing.T) {
	path, _ := numbered(t, 16<<10)
	d, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := make([]byte, 5)
	for i, off := range []int64{0, 511, 4095, 16<<10 - 5} {
		if _, err := s.WriteAt([]byte("hello"), off); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ReadAt(p, off); err != nil || string(p) != "hello" {
			t.Errorf("%d: the disk reads %q, %v", i, p, err)
		}
		if _, err := d.WriteAt([]byte("world"), off); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadAt(p, off); err != nil || string(p) != "world" {
			t.Errorf("%d: the shared file reads %q, %v", i, p, err)
		}
	}
}
