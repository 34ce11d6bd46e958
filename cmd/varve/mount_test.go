package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/program"
)

// smallImage makes an image with a few files, filled by mkfs.
func smallImage(t testing.TB, mkfs ...string) string {
	t.Helper()
	source := t.TempDir()
	for name, contents := range map[string]string{"hello": "hello, world\n", "dir/inner": "inner\n",
		"dir/sub/deep": "deep\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("hello", filepath.Join(source, "link")); err != nil {
		t.Fatal(err)
	}
	return oracle.NewImage(t, 16<<20, append(mkfs, "-d", source)...)
}

// TestMount_Lifecycle mounts in the background, reads, and unmounts: each command returns when what it promises is
// true.
func TestMount_Lifecycle(t *testing.T) {
	oracle.NeedFUSE(t)
	image := smallImage(t)
	before := oracle.HashFile(t, image)
	dir := t.TempDir()
	r := must(t, "mount", image, dir, "-o", "noatime,cache=4M", "--json")
	var m daemon.Mounted
	if err := json.Unmarshal([]byte(r.Stdout), &m); err != nil {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	if m.SchemaVersion != output.SchemaVersion || m.Dir != dir || m.Type != "ext4" ||
		!strings.Contains(m.Options, "cache=4194304") {
		t.Errorf("mount describes itself as %+v", m)
	}
	if p, err := os.ReadFile(filepath.Join(dir, "link")); err != nil || string(p) != "hello, world\n" {
		t.Errorf("read %q, %v", p, err)
	}
	if len(program.DaemonsOf(t, dir)) != 1 {
		t.Errorf("daemons: %v", program.DaemonsOf(t, dir))
	}
	must(t, "umount", dir)
	if left := program.DaemonsOf(t, dir); len(left) != 0 {
		t.Errorf("umount returned while %v still ran", left)
	}
	if oracle.HashFile(t, image) != before {
		t.Error("the image changed")
	}
	if r := varve(t, "umount", dir); r.Code != exitMount || !strings.Contains(r.Stderr, "is not mounted") {
		t.Errorf("a second umount: %+v", r)
	}
}

// TestMount_Foreground ends on SIGTERM, with the mount gone.
func TestMount_Foreground(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		image, dir := smallImage(t), t.TempDir()
		cmd := exec.Command(program.Path(t), "mount", "-f", image, dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { _, err := os.Stat(filepath.Join(dir, "hello")); return err == nil })
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v: %s", signal, err, stderr.String())
		}
		if info, _ := daemon.FindMount(dir); info != nil {
			t.Errorf("%v left the mount behind", signal)
		}
	}
}

// TestMount_BusySignal detaches a mount with an open file, and serves that until it is closed.
func TestMount_BusySignal(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := smallImage(t), t.TempDir()
	cmd := exec.Command(program.Path(t), "mount", "-f", image, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(filepath.Join(dir, "hello")); return err == nil })
	f, err := os.Open(filepath.Join(dir, "dir/inner"))
	if err != nil {
		t.Fatal(err)
	}
	if r := varve(t, "umount", dir); r.Code != exitMount || !strings.Contains(r.Stderr, "busy") {
		t.Errorf("umount of a busy mount: %+v", r)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { info, _ := daemon.FindMount(dir); return info == nil })
	p := make([]byte, 6)
	if _, err := f.ReadAt(p, 0); err != nil || string(p) != "inner\n" {
		t.Errorf("the open file reads %q, %v", p, err)
	}
	f.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func waitFor(t testing.TB, what func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if what() {
			return
		}
	}
	t.Fatal("still not so after a minute")
}

// TestMount_Stale recognises a mount whose daemon was killed, and takes it over.
func TestMount_Stale(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := smallImage(t), t.TempDir()
	kill := func() {
		r := must(t, "mount", image, dir, "--json", "--replace-stale")
		var m daemon.Mounted
		if err := json.Unmarshal([]byte(r.Stdout), &m); err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(m.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			var st unix.Statfs_t
			return errors.Is(unix.Statfs(dir, &st), syscall.ENOTCONN)
		})
	}
	kill()
	if r := varve(t, "mount", image, dir); r.Code != exitMount || !strings.Contains(r.Stderr, "--replace-stale") {
		t.Errorf("mounting over a dead mount: %+v", r)
	}
	kill() // takes the first one over
	must(t, "umount", dir)
	if info, _ := daemon.FindMount(dir); info != nil {
		t.Errorf("%+v is left", info)
	}
}

// TestMount_Helper mounts and unmounts through mount(8) and umount(8), as fstab would.
func TestMount_Helper(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	for _, name := range []string{"mount.varve", "umount.fuse.varve"} {
		path := "/sbin/" + name
		if _, err := os.Lstat(path); err == nil {
			continue // installed already
		}
		if err := os.Symlink(program.Path(t), path); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
	}
	image, dir := smallImage(t), t.TempDir()
	oracle.MustRun(t, "mount", "-t", "varve", "-o", "ro,nofail,_netdev,x-systemd.automount,comment=c,allow_other,user",
		image, dir)
	if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
		t.Error(err)
	}
	info, err := daemon.FindMount(dir)
	if err != nil || info == nil || info.Type != "fuse.varve" {
		t.Fatalf("%+v, %v", info, err)
	}
	oracle.MustRun(t, "umount", dir)
	if left := program.DaemonsOf(t, dir); len(left) != 0 {
		t.Errorf("umount(8) returned while %v still ran", left)
	}
	if out := oracle.MustRun(t, "mount", "-t", "varve", image, dir); !strings.Contains(out, "read-only") {
		t.Errorf("without ro, mount(8) printed %q", out)
	}
	oracle.MustRun(t, "umount", dir)
	written := rwImage(t, "16M")
	oracle.MustRun(t, "mount", "-t", "varve", "-o", "commit=5", written, dir)
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o644); err != nil {
		t.Errorf("with an option of read-write mounts: %v", err)
	}
	if table, err := os.ReadFile("/run/mount/utab"); err != nil || !strings.Contains(string(table), "TARGET="+dir+" ") {
		t.Errorf("libmount has no entry for the helper: %v\n%s", err, table)
	}
	oracle.MustRun(t, "umount", dir)
	if table, err := os.ReadFile("/run/mount/utab"); err != nil || strings.Contains(string(table), "TARGET="+dir+" ") {
		t.Errorf("the helper's note is left: %v\n%s", err, table)
	}
	oracle.Clean(t, written)
	if out, err := exec.Command("mount", "-t", "varve", "-o", "no_such_option", image, dir).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "no_such_option") ||
		strings.Contains(string(out), "mounted read-only") {
		t.Errorf("an unknown option: %v, %s", err, out)
	}
}

// TestMount_ReadOnly refuses every change of the image with EROFS.
func TestMount_ReadOnly(t *testing.T) {
	dir, _ := mountImage(t, smallImage(t))
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, do := range map[string]func() error{
		"create":   func() error { return os.WriteFile(at("new"), nil, 0o644) },
		"write":    func() error { _, err := os.OpenFile(at("hello"), os.O_RDWR, 0); return err },
		"truncate": func() error { return os.Truncate(at("hello"), 0) },
		"mkdir":    func() error { return os.Mkdir(at("d"), 0o755) },
		"unlink":   func() error { return unix.Unlink(at("hello")) },
		"rmdir":    func() error { return unix.Rmdir(at("dir/sub")) },
		"rename":   func() error { return os.Rename(at("hello"), at("hi")) },
		"link":     func() error { return os.Link(at("hello"), at("hi")) },
		"symlink":  func() error { return os.Symlink("a", at("b")) },
		"mknod":    func() error { return unix.Mknod(at("n"), unix.S_IFIFO, 0) },
		"chmod":    func() error { return os.Chmod(at("hello"), 0o600) },
		"chown":    func() error { return os.Chown(at("hello"), 1, 1) },
		"utimes":   func() error { return os.Chtimes(at("hello"), time.Now(), time.Now()) },
		"setxattr": func() error { return unix.Setxattr(at("hello"), "user.a", []byte("b"), 0) },
	} {
		if err := do(); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, expected EROFS", name, err)
		}
	}
	if _, err := os.Stat(at("no-such-file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := os.Stat(at(strings.Repeat("n", 256))); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a name of 256 bytes: %v", err)
	}
	if r := varve(t, "stats", dir); r.Code != exitSystem || !strings.Contains(r.Stderr, "is a read-only mount") ||
		strings.Contains(r.Stderr, "sock") {
		t.Errorf("its statistics: %d, %s", r.Code, r.Stderr)
	}
	written := rwImage(t, "16M")
	_, _ = mountImage(t, written, "--rw")
	if r := varve(t, "mount", "--rw", written, t.TempDir()); r.Code == 0 || !strings.Contains(r.Stderr, "unmount it") {
		t.Errorf("an image that is mounted: %d, %s", r.Code, r.Stderr)
	}
}

// TestMount_Truncated gives EIO where the image's file was cut short, before and after mounting, and serves the rest.
func TestMount_Truncated(t *testing.T) {
	source := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	if err := os.WriteFile(filepath.Join(source, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "a-small"), []byte("small"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := oracle.NewImage(t, 64<<20, "-d", source)
	dir, unmount := mountImage(t, image)
	if err := os.Truncate(image, 12<<20); err != nil {
		t.Fatal(err)
	}
	checkTruncated(t, dir)
	unmount()
	dir, _ = mountImage(t, image)
	checkTruncated(t, dir)
}

func checkTruncated(t *testing.T, dir string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		p, err := os.ReadFile(filepath.Join(dir, "big"))
		if err == nil {
			err = errors.New(string(p[:10]) + ": a whole file was read from an image that was cut short")
		}
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("reading past the image's end: %v, expected EIO", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("reading past the image's end hangs")
	}
	if p, err := os.ReadFile(filepath.Join(dir, "a-small")); err != nil || string(p) != "small" {
		t.Errorf("the rest reads %q, %v", p, err)
	}
}

// TestMount_Permissions enforces modes and ACLs for other users, as the kernel's ext4 does on the same image.
func TestMount_Permissions(t *testing.T) {
	oracle.Need(t, "setfacl", "setpriv")
	oracle.NeedRoot(t)
	image := oracle.NewImage(t, 16<<20)
	kernel, unmount := oracle.MountKernel(t, image, "")
	for _, f := range []struct{ name, acl string }{
		{"public", "u::rw,g::r,o::r"}, {"private", "u::rw,g::-,o::-"}, {"acl-user", "u::rw,u:1000:r,g::-,m::r,o::-"},
		{"acl-masked", "u::rw,u:1000:rw,g::-,m::-,o::-"}, {"acl-group", "u::rw,g::-,g:1001:r,m::r,o::-"},
		{"acl-deny", "u::rw,u:1000:-,g::r,m::r,o::r"},
	} {
		p := filepath.Join(kernel, f.name)
		if err := os.WriteFile(p, []byte(f.name), 0o644); err != nil {
			t.Fatal(err)
		}
		oracle.MustRun(t, "setfacl", "--set", f.acl, p)
	}
	if err := os.MkdirAll(filepath.Join(kernel, "closed/inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, kernel)
	unmount()
	kernel, _ = oracle.MountKernel(t, image, "ro")
	dir, _ := mountImage(t, image, "-o", "allow_other")
	chmod(t, kernel)
	chmod(t, dir)
	for _, user := range [][]string{{"1000", "1000"}, {"1001", "1001"}, {"1002", "1002"}, {"0", "0"}} {
		for _, name := range []string{"public", "private", "acl-user", "acl-masked", "acl-group", "acl-deny",
			"closed/inner"} {
			want, got := access(user, filepath.Join(kernel, name)), access(user, filepath.Join(dir, name))
			if want != got {
				t.Errorf("user %s, %s: access is %v, by the kernel %v", user[0], name, got, want)
			}
		}
	}
}

// chmod opens the way to a mount point below the test's own folders.
func chmod(t *testing.T, dir string) {
	t.Helper()
	for d := filepath.Dir(dir); d != "/" && d != "/tmp"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// access reports whether a user may read a file, or enter and list a directory.
func access(user []string, path string) bool {
	script := `if [ -d "$1" ]; then ls "$1"; else cat "$1"; fi`
	return exec.Command("setpriv", "--reuid", user[0], "--regid", user[1], "--clear-groups", "sh", "-c", script, "sh",
		path).Run() == nil
}

// TestMount_Concurrent has 64 readers compare the whole tree at once. Under -race the daemon has the race detector,
// too.
func TestMount_Concurrent(t *testing.T) {
	oracle.NeedRoot(t)
	image := oracle.NewImage(t, 128<<20)
	kernel, unmount := oracle.MountKernel(t, image, "")
	oracle.Fill(t, kernel, oracle.Filling{Wide: 300, Xattrs: true})
	oracle.MustRun(t, "rm", "-r", filepath.Join(kernel, "files/sparse")) // slow to read 64 times
	unmount()
	kernel, unmount = oracle.MountKernel(t, image, "ro")
	want := oracle.Tree(t, kernel)
	unmount()
	dir, _ := mountImage(t, image, "-o", "cache=256K")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i%8 == 0 { // drop what the kernel keeps, so that requests go on reaching the daemon
				_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
			}
			got, failed := oracle.TreeOf(dir)
			for path, err := range failed {
				t.Errorf("%s: %v", path, err)
			}
			for path, n := range want {
				if got[path] != n && !t.Failed() {
					t.Errorf("%s: %+v, expected %+v", path, got[path], n)
				}
			}
		}()
	}
	wg.Wait()
}

// TestMount_SeekAndStatfs compares lseek(2), statfs(2) and lsattr(1) with the kernel's ext4.
func TestMount_SeekAndStatfs(t *testing.T) {
	oracle.NeedRoot(t)
	for _, mkfs := range [][]string{nil, {"-b", "1024"}, {"-t", "ext2"}, {"-b", "1024", "-O", "meta_bg,^resize_inode"},
		{"-t", "ext3", "-b", "1024", "-O", "^sparse_super,^resize_inode"},
		{"-b", "4096", "-O", "bigalloc", "-C", "16384"}} {
		t.Run(strings.Join(mkfs, " "), func(t *testing.T) {
			image := oracle.NewImage(t, 128<<20, mkfs...)
			kernel, unmount := oracle.MountKernel(t, image, "")
			oracle.Fill(t, kernel, oracle.Filling{Wide: 10})
			oracle.MustRun(t, "chattr", "+d", filepath.Join(kernel, "files/of-1"))
			unmount()
			kernel, _ = oracle.MountKernel(t, image, "ro")
			dir, _ := mountImage(t, image)
			for _, name := range []string{"files/sparse", "files/unwritten", "files/megabyte", "files/of-0"} {
				if want, got := seeks(t, filepath.Join(kernel, name)), seeks(t, filepath.Join(dir, name)); want != got {
					t.Errorf("%s: seeks lead to %s, by the kernel to %s", name, got, want)
				}
			}
			var want, got unix.Statfs_t
			if err := errors.Join(unix.Statfs(kernel, &want), unix.Statfs(dir, &got)); err != nil {
				t.Fatal(err)
			}
			if want.Blocks != got.Blocks || want.Bfree != got.Bfree || want.Bavail != got.Bavail || want.Files != got.Files ||
				want.Ffree != got.Ffree ||
				want.Bsize != got.Bsize ||
				want.Namelen != got.Namelen {
				t.Errorf("statfs is %+v, by the kernel %+v", got, want)
			}
			if want, got := lsattr(t, kernel), lsattr(t, dir); want != got {
				t.Errorf("lsattr prints\n%s, on the kernel's mount\n%s", got, want)
			}
		})
	}
}

func lsattr(t *testing.T, dir string) string {
	cmd := exec.Command("sh", "-c", "lsattr -p files types 2>/dev/null | sort")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("lsattr: %v", err)
	}
	return string(out)
}

// seeks walks a file by SEEK_DATA and SEEK_HOLE.
func seeks(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out strings.Builder
	for _, start := range []int64{0, 1, 5000, 8192, 70 << 20, 1 << 30} {
		for at, whence := start, unix.SEEK_DATA; ; whence = unix.SEEK_DATA + unix.SEEK_HOLE - whence {
			next, err := unix.Seek(int(f.Fd()), at, whence)
			if err != nil {
				out.WriteString(err.Error() + "; ")
				break
			}
			out.WriteString(time.Duration(next).String() + " ")
			if whence == unix.SEEK_HOLE && next == at {
				break
			}
			at = next
		}
	}
	return out.String()
}

// TestMount_Unprivileged mounts through fusermount3 as an ordinary user.
func TestMount_Unprivileged(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "fusermount3", "setpriv")
	// Its usual mode; where no udev sets it, only root can open it.
	if info, err := os.Stat("/dev/fuse"); err == nil && info.Mode().Perm() != 0o666 {
		if err := os.Chmod("/dev/fuse", 0o666); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod("/dev/fuse", info.Mode().Perm())
	}
	image, dir := smallImage(t), t.TempDir()
	chmod(t, filepath.Join(dir, "x"))
	chmod(t, image)
	chmod(t, program.Path(t))
	if err := errors.Join(os.Chmod(image, 0o644), os.Chown(dir, 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	as := func(args ...string) (string, error) {
		args = append([]string{"--reuid", "1000", "--regid", "1000", "--clear-groups", program.Path(t)}, args...)
		out, err := exec.Command("setpriv", args...).CombinedOutput()
		return string(out), err
	}
	user := func(path string) error {
		return exec.Command("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "cat", path).Run()
	}
	if out, err := as("mount", image, dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := user(filepath.Join(dir, "hello")); err != nil {
		t.Error(err)
	}
	if info, err := daemon.FindMount(dir); err != nil || info == nil || info.Owner != 1000 {
		t.Errorf("%+v, %v", info, err)
	}
	if out, err := as("umount", dir); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left := program.DaemonsOf(t, dir); len(left) != 0 {
		t.Errorf("umount returned while %v still ran", left)
	}
}

// TestMount_AutoUnmount has the mount go with its daemon, however that ends.
func TestMount_AutoUnmount(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "fusermount3")
	image, dir := smallImage(t), t.TempDir()
	r := must(t, "mount", image, dir, "-o", "auto_unmount", "--json")
	var m daemon.Mounted
	if err := json.Unmarshal([]byte(r.Stdout), &m); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(m.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { info, _ := daemon.FindMount(dir); return info == nil })
	must(t, "mount", image, dir, "-o", "auto_unmount")
	must(t, "umount", dir)
	if left := program.DaemonsOf(t, dir); len(left) != 0 {
		t.Errorf("umount returned while %v still ran", left)
	}
}
