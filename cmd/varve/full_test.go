package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
)

// user is who a step of a test runs as.
type user struct {
	uid, gid int
	groups   []int
	resource bool // has CAP_SYS_RESOURCE
}

var plain = user{uid: 1000, gid: 1000}

// as runs a step as a user, on a thread of its own that ends with it.
func as(t testing.TB, u user, step func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := u.become(); err != nil {
			done <- fmt.Errorf("become %+v: %w", u, err)
			return
		}
		done <- step()
	}()
	return <-done
}

// become changes the calling thread only, as package unix does with groups, and with users not.
func (u user) become() error {
	if err := unix.Setgroups(u.groups); err != nil {
		return err
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, uintptr(u.gid), uintptr(u.gid), 0); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(u.uid), uintptr(u.uid), 0); e != 0 {
		return e
	}
	if !u.resource {
		return nil
	}
	var caps [2]unix.CapUserData
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return err
	}
	caps[0].Effective = 1 << unix.CAP_SYS_RESOURCE
	return unix.Capset(&head, &caps[0])
}

// mayGive reports whether this process has a capability.
func mayGive(t *testing.T, bit int) bool {
	t.Helper()
	var caps [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
		t.Fatal(err)
	}
	return caps[bit/32].Permitted>>(bit%32)&1 != 0
}

// fillUp appends to a file until there is no room.
func fillUp(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 1 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	return f.Sync()
}

// promise has the kernel allocate blocks for a file.
func promise(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, size)
}

// everyOther does something to every other KiB of a file, and makes it durable.
func everyOther(path string, size int64, do func(f *os.File, at int64) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at := int64(0); at < size; at += 2 << 10 {
		if err := do(f, at); err != nil {
			return fmt.Errorf("at %d: %w", at, err)
		}
	}
	return f.Sync()
}

// onFull fills a file system on which user 1001 and group 2000 may use reserved blocks, and returns the results of
// steps by several users.
func onFull(t *testing.T, dir string) map[string]error {
	t.Helper()
	chmod(t, dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(as(t, plain, func() error { return promise(at("promised"), size) }))
	must(as(t, plain, func() error { return os.WriteFile(at("holes"), make([]byte, size), 0o644) }))
	users := map[string]user{"user": plain, "resuid": {uid: 1001, gid: 1000}, "resgid": {uid: 1000, gid: 2000},
		"member": {
			uid:    1000,
			gid:    1000,
			groups: []int{2000},
		}, "other member": {uid: 1000, gid: 1000, groups: []int{2001}},
		"root": {}}
	if mayGive(t, unix.CAP_SYS_RESOURCE) { // not in every container
		users["resource"] = user{uid: 1000, gid: 1000, resource: true}
	}
	for name, u := range users {
		must(as(t, u, func() error { return os.WriteFile(at(name), nil, 0o644) }))
	}
	must(as(t, plain, func() error { return fillUp(at("full")) }))
	got := map[string]error{}
	for name, u := range users {
		got[name] = as(t, u, func() error { return os.WriteFile(at(name), make([]byte, 4096), 0o644) })
	}
	must(fillUp(at("root's")))
	got["promised"] = as(t, plain, func() error {
		return everyOther(at("promised"), size, func(f *os.File, at int64) error {
			_, err := f.WriteAt(make([]byte, 1<<10), at)
			return err
		})
	})
	got["punch"] = as(t, plain, func() error {
		return everyOther(at("holes"), size, func(f *os.File, at int64) error {
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, 1<<10)
		})
	})
	return got
}

// TestFull_Kernel: on a full file system varve refuses what the kernel's ext4 refuses, and does what it does.
func TestFull_Kernel(t *testing.T) {
	oracle.NeedRoot(t)
	oracle.NeedFUSE(t)
	empty := rwImage(t, "16M", "-b", "1024", "-m", "10", "-N", "512")
	oracle.MustRun(t, "tune2fs", "-u", "1001", "-g", "2000", empty)
	kernel, unmount := oracle.MountKernel(t, oracle.Copy(t, empty),
		"resgid=2000") // Linux 6.18 takes s_def_resuid for the group, too
	want := onFull(t, kernel)
	unmount()
	for _, options := range []string{"rw", "rw,data=journal"} {
		t.Run(options, func(t *testing.T) {
			image := oracle.Copy(t, empty)
			dir, unmount := mountImage(t, image, "-o", options+",allow_other")
			got := onFull(t, dir)
			unmount()
			oracle.Clean(t, image)
			for name, err := range want {
				if (err == nil) != (got[name] == nil) {
					t.Errorf("%s: %v, by the kernel %v", name, got[name], err)
				}
			}
		})
	}
	t.Log(want)
}

// directShort writes directly, and without waiting, more than there is room for, and returns the error.
func directShort(t *testing.T) (err error) {
	t.Helper()
	oracle.Need(t, "fio")
	image := rwImage(t, "16M")
	dir, unmount := mountImage(t, image, "-o", "rw")
	odd := filepath.Join(dir, "odd") // so that some of a write fits
	if err := os.WriteFile(odd, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("fio", "--name=v", "--filename="+filepath.Join(dir, "file"), "--rw=write", "--bs=500k",
		"--size=64m", "--direct=1", "--ioengine=libaio", "--iodepth=1", "--fallocate=none", "--output-format=json").
		Output()
	var result struct {
		Jobs []struct{ Error int }
	}
	if err := json.Unmarshal(out[bytes.IndexByte(out, '{'):], &result); err != nil || len(result.Jobs) != 1 {
		t.Fatalf("fio: %v\n%s", err, out)
	}
	unmount()
	oracle.Clean(t, image)
	return syscall.Errno(result.Jobs[0].Error)
}

// TestFull_Direct: a direct write for which there is room in part says so.
func TestFull_Direct(t *testing.T) {
	oracle.NeedFUSE(t)
	if err := directShort(t); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a direct write on a full file system: %v", err)
	}
}

// mapped writes through a mapping of a sparse file, as a plain user, until all free blocks would be used, and returns
// what msync says and how many blocks are free.
func mapped(t *testing.T) (free uint64, err error) {
	t.Helper()
	oracle.NeedRoot(t)
	const size = 32 << 20
	image := rwImage(t, "24M", "-m", "30")
	dir, unmount := mountImage(t, image, "-o", "rw,allow_other")
	chmod(t, dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	err = as(t, plain, func() error {
		f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			return err
		}
		p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer unix.Munmap(p)
		for i := 0; i < size; i += 4096 {
			p[i] = 1
		}
		return unix.Msync(p, unix.MS_SYNC)
	})
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	unmount()
	oracle.Clean(t, image)
	return st.Bfree, err
}

// TestFull_Mapped: what a plain user wrote through a mapping does not get at reserved blocks, though the kernel writes
// it.
func TestFull_Mapped(t *testing.T) {
	oracle.NeedFUSE(t)
	if free, err := mapped(t); !errors.Is(err, unix.ENOSPC) || free < 24<<8*30/100 {
		t.Errorf("msync: %v, with %d blocks left", err, free)
	}
}

// gathered writes without end to a file that was opened while there was room, with the writeback cache. It returns the
// first error of write(2), if one came within the bytes and the time, what fsync says, and how many writes the daemon
// failed.
func gathered(t *testing.T, most int64, limit time.Duration) (failed int64, synced, err error) {
	t.Helper()
	image := rwImage(t, "48M", "-m", "0")
	dir, unmount := mountImage(t, image, "-o", "rw,writeback_cache")
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	began, piece := time.Now(), make([]byte, 64<<10)
	for at := int64(0); at < most && err == nil && time.Since(began) < limit; at += int64(len(piece)) {
		_, err = f.WriteAt(piece, at%(128<<20))
	}
	synced = f.Sync()
	f.Close()
	var m daemon.Stats
	if err := json.Unmarshal([]byte(must(t, "stats", "--json", dir).Stdout), &m); err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Operations {
		if o.Name == "write" {
			failed = o.Failed
		}
	}
	t.Logf("write: %v after %v; fsync: %v; the daemon failed %d writes", err, time.Since(began), synced, failed)
	unmount()
	oracle.Clean(t, image)
	return failed, synced, err
}

// TestFull_Gathered: with the writeback cache a writer on a full file system learns of it in write(2), also where it
// never calls fsync, and the daemon does not go on failing.
func TestFull_Gathered(t *testing.T) {
	oracle.NeedFUSE(t)
	failed, _, err := gathered(t, 4<<30, 2*time.Minute)
	if !errors.Is(err, unix.ENOSPC) || failed > 100_000 {
		t.Errorf("write: %v, and the daemon failed %d writes", err, failed)
	}
}
