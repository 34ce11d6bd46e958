package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// The ways to shut down (XFS_FSOP_GOING_FLAGS_*).
const (
	goingDefault = iota
	goingLogFlush
	goingNoLogFlush
	goingWrong
)

// shutDown shuts the file system of a file down.
func shutDown(f *os.File, flags int) error {
	const ioctl = 0x8004587d // FS_IOC_SHUTDOWN
	return unix.IoctlSetPointerInt(int(f.Fd()), ioctl, flags)
}

// mustShutDown shuts down by way of the mount point.
func mustShutDown(t *testing.T, dir string, flags int) {
	t.Helper()
	f, err := os.Open(dir)
	fatal(t, err)
	defer f.Close()
	fatal(t, shutDown(f, flags))
}

// afterShutdown are operations by name, as they are tried after a shutdown. f and d are open since before.
var afterShutdown = map[string]func(f, d *os.File, dir string) error{
	"shut down again": func(f, _ *os.File, _ string) error { return shutDown(f, goingNoLogFlush) },
	"read":            func(f, _ *os.File, _ string) error { _, err := f.ReadAt(make([]byte, 4), 0); return err },
	"write":           func(f, _ *os.File, _ string) error { _, err := f.WriteAt([]byte("x"), 0); return err },
	"fsync":           func(f, _ *os.File, _ string) error { return f.Sync() },
	"fsync of a directory": func(_, d *os.File, _ string) error {
		return d.Sync()
	},
	"fstat":        func(f, _ *os.File, _ string) error { _, err := f.Stat(); return err },
	"stat":         func(_, _ *os.File, dir string) error { _, err := os.Stat(dir + "/cold"); return err },
	"stat of none": func(_, _ *os.File, dir string) error { _, err := os.Stat(dir + "/none"); return err },
	"statfs":       func(_, _ *os.File, dir string) error { return unix.Statfs(dir, new(unix.Statfs_t)) },
	"open":         func(_, _ *os.File, dir string) error { return closed(os.Open(dir + "/file")) },
	"readdir":      func(_, _ *os.File, dir string) error { _, err := os.ReadDir(dir + "/dir"); return err },
	"readlink":     func(_, _ *os.File, dir string) error { _, err := os.Readlink(dir + "/link"); return err },
	"create":       func(_, _ *os.File, dir string) error { return closed(os.Create(dir + "/new")) },
	"mkdir":        func(_, _ *os.File, dir string) error { return os.Mkdir(dir+"/new", 0o755) },
	"unlink":       func(_, _ *os.File, dir string) error { return unix.Unlink(dir + "/cold") },
	"rmdir":        func(_, _ *os.File, dir string) error { return unix.Rmdir(dir + "/empty") },
	"rename":       func(_, _ *os.File, dir string) error { return unix.Rename(dir+"/file", dir+"/new") },
	"link":         func(_, _ *os.File, dir string) error { return os.Link(dir+"/file", dir+"/new") },
	"symlink":      func(_, _ *os.File, dir string) error { return os.Symlink("file", dir+"/new") },
	"chmod":        func(_, _ *os.File, dir string) error { return os.Chmod(dir+"/file", 0o600) },
	"utimes":       func(_, _ *os.File, dir string) error { return os.Chtimes(dir+"/file", time.Now(), time.Now()) },
	"truncate":     func(_, _ *os.File, dir string) error { return os.Truncate(dir+"/file", 0) },
	"fallocate":    func(f, _ *os.File, _ string) error { return unix.Fallocate(int(f.Fd()), 0, 0, 8192) },
	"setxattr":     func(_, _ *os.File, dir string) error { return unix.Setxattr(dir+"/file", "user.x", []byte("2"), 0) },
	"getxattr": func(_, _ *os.File, dir string) error {
		_, err := unix.Getxattr(dir+"/file", "user.x", make([]byte, 9))
		return err
	},
	"listxattr": func(_, _ *os.File, dir string) error {
		_, err := unix.Listxattr(dir+"/file", make([]byte, 99))
		return err
	},
	"lseek":         func(f, _ *os.File, _ string) error { _, err := f.Seek(0, unix.SEEK_DATA); return err },
	"read of pages": func(f, _ *os.File, _ string) error { _, err := f.ReadAt(make([]byte, 4), 4096); return err },
}

func closed(f *os.File, err error) error {
	if err == nil {
		err = f.Close()
	}
	return err
}

// shutdownTree makes an image with the files that afterShutdown has in mind.
func shutdownTree(t *testing.T) string {
	image := rwImage(t, "32M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	defer unmount()
	for _, name := range []string{"file", "cold", "dir/x"} {
		fatal(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		fatal(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 8192), 0o644))
	}
	fatal(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	fatal(t, os.Symlink("file", filepath.Join(dir, "link")))
	fatal(t, unix.Setxattr(filepath.Join(dir, "file"), "user.x", []byte("1"), 0))
	return image
}

// runShutdown shuts a mount down, and returns the result of each operation afterwards.
func runShutdown(t *testing.T, dir string, mode, flags int) map[string]string {
	t.Helper()
	f, err := os.OpenFile(dir+"/file", mode, 0)
	fatal(t, err)
	defer f.Close()
	d, err := os.Open(dir + "/dir")
	fatal(t, err)
	defer d.Close()
	if _, err := os.ReadFile(dir + "/file"); err != nil { // its pages are cached
		t.Fatal(err)
	}
	if err := shutDown(f, goingWrong); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%s: flags 3: %v", dir, err)
	}
	fatal(t, shutDown(f, flags))
	out := map[string]string{}
	for name, op := range afterShutdown {
		var errno syscall.Errno
		if err := op(f, d, dir); errors.As(err, &errno) {
			out[name] = unix.ErrnoName(errno)
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return out
}

// TestShutdown_Kernel: after FS_IOC_SHUTDOWN operations have the same results as with the kernel's ext4.
func TestShutdown_Kernel(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	for _, c := range []struct {
		options string
		mode    int
		other   map[string]string // what differs, with varve's result
	}{
		{"rw", os.O_RDWR, nil},
		// The kernel learned that no file needs opening or fsync, and keeps the pages that it has; on a read-only mount
		// it refuses changes itself.
		{"ro", os.O_RDONLY, map[string]string{"open": "", "fsync": "", "fsync of a directory": "", "read": "",
			"read of pages": ""}},
	} {
		for flags := range goingWrong {
			t.Run(fmt.Sprint(c.options, " ", flags), func(t *testing.T) {
				image := shutdownTree(t)
				kernel, unmount := oracle.MountKernel(t, oracle.Copy(t, image), c.options)
				want := runShutdown(t, kernel, c.mode, flags)
				unmount()
				dir, umount := mountImage(t, image, "-o", c.options)
				got := runShutdown(t, dir, c.mode, flags)
				umount()
				maps.Copy(want, c.other)
				for _, name := range slices.Sorted(maps.Keys(afterShutdown)) {
					if got[name] != want[name] {
						t.Errorf("%s: %q, expected %q", name, got[name], want[name])
					}
				}
			})
		}
	}
}

// TestShutdown_Acknowledged: a shutdown is a power cut at once. Nothing is written from its return on, not by
// unmounting either; what fsync had acknowledged is there after recovery; and e2fsck finds nothing wrong.
func TestShutdown_Acknowledged(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	for _, options := range []string{"rw", "rw,data=journal", "overlay="} {
		t.Run(options, func(t *testing.T) {
			image := rwImage(t, "64M")
			written := image
			if options == "overlay=" {
				written = filepath.Join(t.TempDir(), "overlay")
				options += written
			}
			dir := t.TempDir()
			writers := []*killWriter{{name: "a"}, {name: "b"}, {name: "c"}}
			for flags := range goingWrong {
				mountPid(t, image, dir, options)
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for _, w := range writers {
					w.check(t, dir)
					wg.Go(func() { w.run(dir, stop) })
				}
				time.Sleep(50 * time.Millisecond)
				mustShutDown(t, dir, flags)
				at := sumOf(t, written)
				close(stop)
				wg.Wait()
				must(t, "umount", dir)
				if sumOf(t, written) != at {
					t.Errorf("flags %d: the file was written to after the shutdown", flags)
				}
			}
			mountPid(t, image, dir, options)
			for _, w := range writers {
				w.check(t, dir)
				if w.acknowledged == 0 {
					t.Error("nothing was ever acknowledged")
				}
			}
			must(t, "umount", dir)
			if written != image {
				must(t, "commit", image, written)
			}
			oracle.Clean(t, image)
		})
	}
}

func sumOf(t *testing.T, path string) [32]byte {
	t.Helper()
	p, err := os.ReadFile(path)
	fatal(t, err)
	return sha256.Sum256(p)
}

// shutdownKeeps reports whether what was written without fsync is there after a shutdown, and whether the image is as
// the shutdown left it after unmounting.
func shutdownKeeps(t *testing.T, flags int) (kept, untouched bool) {
	t.Helper()
	oracle.NeedFUSE(t)
	image := rwImage(t, "16M")
	dir := t.TempDir()
	mountPid(t, image, dir, "rw,commit=300")
	fatal(t, os.WriteFile(filepath.Join(dir, "first"), []byte("durable"), 0o644))
	must(t, "sync", dir)
	fatal(t, os.WriteFile(filepath.Join(dir, "second"), []byte("not yet"), 0o644))
	mustShutDown(t, dir, flags)
	at := sumOf(t, image)
	must(t, "umount", dir)
	untouched = sumOf(t, image) == at
	if out := must(t, "cat", image, "/first").Stdout; out != "durable" {
		t.Errorf("flags %d: what was durable reads %q", flags, out)
	}
	r := varve(t, "cat", image, "/second")
	mountPid(t, image, dir, "rw") // recovers
	must(t, "umount", dir)
	oracle.Clean(t, image)
	return r.Stdout == "not yet", untouched
}

// TestShutdown_Flags: what was done is durable by DEFAULT and LOGFLUSH, and lost by NOLOGFLUSH.
func TestShutdown_Flags(t *testing.T) {
	oracle.NeedRoot(t)
	for flags := range goingWrong {
		if kept, untouched := shutdownKeeps(t, flags); kept != (flags != goingNoLogFlush) || !untouched {
			t.Errorf("flags %d: kept %v; the image was written to afterwards: %v", flags, kept, !untouched)
		}
	}
}

// TestShutdown_RootOnly: users, and root without CAP_SYS_ADMIN, are refused, and nothing happens.
func TestShutdown_RootOnly(t *testing.T) {
	oracle.NeedRoot(t)
	dir, _ := mountImage(t, rwImage(t, "16M"), "-o", "rw,allow_other")
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		fatal(t, os.Chmod(d, 0o755))
	}
	f, err := os.Open(dir)
	fatal(t, err)
	defer f.Close()
	refused := func() error {
		if err := shutDown(f, goingNoLogFlush); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("shut down: %v", err)
		}
		return nil
	}
	program.AsUser(t, program.Stranger, refused)
	program.AsUser(t, 0, func() error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&h, &caps[0]); err != nil {
			return err
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		if err := unix.Capset(&h, &caps[0]); err != nil {
			return err
		}
		return refused()
	})
	fatal(t, os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("x", 5000)), 0o644))
}
