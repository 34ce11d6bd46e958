package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// pageModes are the mounts that differ in what the kernel keeps of a file.
var pageModes = []string{"rw", "rw,no_open", "rw,writeback_cache", "rw,writeback_cache,no_open"}

// seekPages reports where data and a hole are found in two files: one written, one with three bytes set through a
// mapping. Nothing was synced.
func seekPages(t *testing.T, options string) (written, mapped [2]int64) {
	t.Helper()
	image := rwImage(t, "32M")
	dir, unmount := mountImage(t, image, "-o", options)
	w, err := os.Create(filepath.Join(dir, "written"))
	fatal(t, err)
	defer w.Close()
	_, err = w.Write(make([]byte, 100_000))
	fatal(t, err)
	m, err := os.Create(filepath.Join(dir, "mapped"))
	fatal(t, err)
	defer m.Close()
	fatal(t, m.Truncate(1<<20))
	p, err := unix.Mmap(int(m.Fd()), 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fatal(t, err)
	copy(p[8192:], "abc")
	for i, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		written[i], mapped[i] = seek(w, whence), seek(m, whence)
	}
	fatal(t, unix.Munmap(p))
	w.Close()
	m.Close()
	unmount()
	oracle.Clean(t, image)
	return written, mapped
}

// seek looks from the beginning on; -1 is an error.
func seek(f *os.File, whence int) int64 {
	at, err := unix.Seek(int(f.Fd()), 0, whence)
	if err != nil {
		return -1
	}
	return at
}

// TestRW_SeekPages: SEEK_DATA finds what is in the page cache only.
func TestRW_SeekPages(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, options := range pageModes {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			written, mapped := seekPages(t, options)
			if written != [2]int64{0, 100_000} || mapped != [2]int64{8192, 0} {
				t.Errorf("data and hole: %v of what was written, %v of what was mapped", written, mapped)
			}
		})
	}
}

const fsImmutable, fsAppend = 0x10, 0x20

// TestRW_GatheredFlags: what was written before chattr +i, and appended to a file with chattr +a, reaches the file
// however the kernel gathers it.
func TestRW_GatheredFlags(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, options := range pageModes {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			dir, unmount := mountImage(t, rwImage(t, "32M"), "-o", options)
			defer unmount()
			fixed, log := filepath.Join(dir, "fixed"), filepath.Join(dir, "log")
			f, err := os.Create(fixed)
			fatal(t, err)
			defer f.Close()
			_, err = f.WriteString("written before")
			fatal(t, err)
			fatal(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x80000|fsImmutable))
			if err := f.Sync(); err != nil {
				t.Errorf("fsync of what was written before chattr +i: %v", err)
			}
			if got, err := os.ReadFile(fixed); string(got) != "written before" {
				t.Errorf("of the immutable file: %q, %v", got, err)
			}
			fatal(t, os.WriteFile(log, []byte("0"), 0o644))
			for _, line := range []string{"1", "2", "3"} {
				a, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
				fatal(t, err)
				if line == "1" {
					fatal(t, unix.IoctlSetPointerInt(int(a.Fd()), unix.FS_IOC_SETFLAGS, 0x80000|fsAppend))
				}
				_, err = a.WriteString(line)
				if err = errors.Join(err, a.Sync(), a.Close()); err != nil {
					t.Errorf("append %s: %v", line, err)
				}
			}
			if got, err := os.ReadFile(log); string(got) != "0123" {
				t.Errorf("of the append-only file: %q, %v", got, err)
			}
			for _, path := range []string{fixed, log} {
				g, err := os.Open(path)
				fatal(t, err)
				fatal(t, errors.Join(unix.IoctlSetPointerInt(int(g.Fd()), unix.FS_IOC_SETFLAGS, 0x80000), g.Close()))
			}
		})
	}
}

// TestRW_GatheredBlocks: stat(2) shows the blocks of what was gathered, and of attributes.
func TestRW_GatheredBlocks(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, options := range pageModes {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			dir, unmount := mountImage(t, rwImage(t, "32M", "-b", "4096"), "-o", options)
			defer unmount()
			f, err := os.Create(filepath.Join(dir, "file"))
			fatal(t, err)
			defer f.Close()
			for _, c := range []struct {
				what string
				do   func() error
				want int64
			}{
				{"made", func() error { return nil }, 0},
				{"written", func() error { _, err := f.Write(make([]byte, 10_000)); return errors.Join(err, f.Sync()) }, 24},
				{"given an attribute", func() error { return unix.Fsetxattr(int(f.Fd()), "user.a", make([]byte, 3000), 0) }, 32},
				{"rid of it", func() error { return unix.Fremovexattr(int(f.Fd()), "user.a") }, 24},
				{"overwritten", func() error { _, err := f.WriteAt([]byte("x"), 0); return errors.Join(err, f.Sync()) }, 24},
			} {
				fatal(t, c.do())
				var st unix.Stat_t
				fatal(t, unix.Fstat(int(f.Fd()), &st))
				if st.Blocks != c.want {
					t.Errorf("%s, the file has %d blocks, expected %d", c.what, st.Blocks, c.want)
				}
			}
		})
	}
}

// TestRW_SyncedHandle kills the daemon after fallocate(2) and copy_file_range(2) through a handle opened with O_SYNC or
// O_DSYNC.
func TestRW_SyncedHandle(t *testing.T) {
	oracle.NeedFUSE(t)
	for name, flag := range map[string]int{"O_SYNC": unix.O_SYNC, "O_DSYNC": unix.O_DSYNC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, dir := rwImage(t, "32M"), t.TempDir()
			pid := mountPid(t, image, dir, "rw,commit=3600")
			fatal(t, os.WriteFile(filepath.Join(dir, "source"), []byte("contents"), 0o644))
			files := map[string]*os.File{}
			for _, name := range []string{"copy", "allocated", "source"} {
				f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|flag, 0o644)
				fatal(t, err)
				defer f.Close()
				fatal(t, f.Sync())
				files[name] = f
			}
			if n, err := unix.CopyFileRange(int(files["source"].Fd()), nil, int(files["copy"].Fd()), nil, 8, 0); n != 8 {
				t.Fatalf("copy_file_range: %d, %v", n, err)
			}
			cut(t, pid, dir, files)
			if got := must(t, "cat", image, "/copy").Stdout; got != "contents" {
				t.Errorf("after a crash, the copy is %q", got)
			}
			pid = mountPid(t, image, dir, "rw,commit=3600")
			f, err := os.OpenFile(filepath.Join(dir, "allocated"), os.O_RDWR|flag, 0)
			fatal(t, err)
			fatal(t, unix.Fallocate(int(f.Fd()), 0, 0, 5000))
			cut(t, pid, dir, map[string]*os.File{"allocated": f})
			if got := must(t, "cat", image, "/allocated").Stdout; len(got) != 5000 {
				t.Errorf("after a crash, %d bytes are allocated", len(got))
			}
		})
	}
}

// cut kills a daemon, and clears its mount away.
func cut(t *testing.T, pid int, dir string, files map[string]*os.File) {
	t.Helper()
	fatal(t, syscall.Kill(pid, syscall.SIGKILL))
	for _, f := range files {
		f.Close()
	}
	must(t, "umount", dir)
}

// TestRW_DirectCapabilities: a direct write takes a program's capabilities away for every writer, and root's leaves
// setuid and setgid as they are. So does root's copy_file_range(2).
func TestRW_DirectCapabilities(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	dir, unmount := mountImage(t, rwImage(t, "32M"), "-o", "rw")
	defer unmount()
	source, program := filepath.Join(dir, "source"), filepath.Join(dir, "program")
	fatal(t, os.WriteFile(source, []byte("contents"), 0o644))
	s, err := os.Open(source)
	fatal(t, err)
	defer s.Close()
	capability := append([]byte{1, 0, 0, 2, 0, 32}, make([]byte, 14)...) // CAP_NET_RAW, revision 2
	for name, write := range map[string]func() error{
		"direct write": func() error {
			f, err := os.OpenFile(program, os.O_RDWR|unix.O_DIRECT, 0)
			fatal(t, err)
			p, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			fatal(t, err)
			_, err = f.WriteAt(p, 0)
			return errors.Join(err, f.Close(), unix.Munmap(p))
		},
		"copy_file_range": func() error {
			f, err := os.OpenFile(program, os.O_RDWR, 0)
			fatal(t, err)
			var at int64
			_, err = unix.CopyFileRange(int(s.Fd()), &at, int(f.Fd()), nil, 8, 0)
			return errors.Join(err, f.Close())
		},
	} {
		fatal(t, os.WriteFile(program, make([]byte, 4096), 0o644))
		fatal(t, unix.Chmod(program, 0o6755))
		fatal(t, unix.Setxattr(program, "security.capability", capability, 0))
		fatal(t, write())
		var st unix.Stat_t
		fatal(t, unix.Stat(program, &st))
		if _, err := unix.Getxattr(program, "security.capability", make([]byte, 64)); !errors.Is(err, unix.ENODATA) ||
			st.Mode&0o7777 != 0o6755 {
			t.Errorf("after a %s by root: mode %o, capability: %v", name, st.Mode, err)
		}
		fatal(t, os.Remove(program))
	}
}
