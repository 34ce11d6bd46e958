package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// errnoOps are operations on a path. Each leaves what it did visible to stat(2).
var errnoOps = map[string]func(p string) error{
	"stat":          func(p string) error { var st unix.Stat_t; return unix.Stat(p, &st) },
	"lstat":         func(p string) error { var st unix.Stat_t; return unix.Lstat(p, &st) },
	"read":          opens(unix.O_RDONLY),
	"write":         opens(unix.O_WRONLY),
	"append":        opens(unix.O_WRONLY | unix.O_APPEND),
	"truncate open": opens(unix.O_WRONLY | unix.O_TRUNC),
	"create":        opens(unix.O_RDWR | unix.O_CREAT),
	"exclusive":     opens(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL),
	"directory":     opens(unix.O_RDONLY | unix.O_DIRECTORY),
	"nofollow":      opens(unix.O_RDONLY | unix.O_NOFOLLOW),
	"tmpfile":       opens(unix.O_RDWR | unix.O_TMPFILE),
	"mkdir":         func(p string) error { return unix.Mkdir(p, 0o777) },
	"rmdir":         unix.Rmdir,
	"unlink":        unix.Unlink,
	"mkfifo":        func(p string) error { return unix.Mkfifo(p, 0o666) },
	"mknod":         func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
	"symlink":       func(p string) error { return unix.Symlink("target", p) },
	"readlink":      func(p string) error { _, err := unix.Readlink(p, make([]byte, 100)); return err },
	"chmod":         func(p string) error { return unix.Chmod(p, 0o4751) },
	"chmod sgid":    func(p string) error { return unix.Chmod(p, 0o2775) },
	"chown":         func(p string) error { return unix.Chown(p, 1000, 1000) },
	"chown group":   func(p string) error { return unix.Chown(p, -1, 1000) },
	"lchown":        func(p string) error { return unix.Lchown(p, 7, 7) },
	"truncate":      func(p string) error { return unix.Truncate(p, 3) },
	"extend":        func(p string) error { return unix.Truncate(p, 30000) },
	"too long":      func(p string) error { return unix.Truncate(p, 1<<62) },
	"negative":      func(p string) error { return unix.Truncate(p, -1) },
	"utimes now":    func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0) },
	"utimes": func(p string) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{{Sec: 5}, {Sec: 6}}, 0)
	},
	"access rw": func(p string) error {
		return unix.Faccessat(unix.AT_FDCWD, p, unix.R_OK|unix.W_OK, unix.AT_EACCESS)
	},
	"setxattr":      func(p string) error { return unix.Setxattr(p, "user.a", []byte("v"), 0) },
	"setxattr new":  func(p string) error { return unix.Setxattr(p, "user.set", []byte("v"), unix.XATTR_CREATE) },
	"setxattr old":  func(p string) error { return unix.Setxattr(p, "user.none", []byte("v"), unix.XATTR_REPLACE) },
	"lsetxattr":     func(p string) error { return unix.Lsetxattr(p, "user.a", []byte("v"), 0) },
	"trusted":       func(p string) error { return unix.Setxattr(p, "trusted.a", []byte("v"), 0) },
	"no namespace":  func(p string) error { return unix.Setxattr(p, "nothing.a", []byte("v"), 0) },
	"long xattr":    func(p string) error { return unix.Setxattr(p, "user."+strings.Repeat("n", 251), []byte("v"), 0) },
	"large xattr":   func(p string) error { return unix.Setxattr(p, "user.large", make([]byte, 60000), 0) },
	"getxattr":      func(p string) error { _, err := unix.Getxattr(p, "user.set", make([]byte, 10)); return err },
	"getxattr none": func(p string) error { _, err := unix.Getxattr(p, "user.none", make([]byte, 10)); return err },
	"getxattr room": func(p string) error { _, err := unix.Getxattr(p, "user.set", make([]byte, 1)); return err },
	"removexattr":   func(p string) error { return unix.Removexattr(p, "user.set") },
	"remove none":   func(p string) error { return unix.Removexattr(p, "user.none") },
	"acl":           func(p string) error { return unix.Setxattr(p, "system.posix_acl_access", testACL, 0) },
	"default acl":   func(p string) error { return unix.Setxattr(p, "system.posix_acl_default", testACL, 0) },
	"bad acl":       func(p string) error { return unix.Setxattr(p, "system.posix_acl_access", testACL[:15], 0) },
	"pwrite": func(p string) error {
		return withFile(p, unix.O_WRONLY, func(fd int) error { _, err := unix.Pwrite(fd, []byte("x"), 0); return err })
	},
	"fallocate": func(p string) error {
		return withFile(p, unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 0, 5000) })
	},
	"punch": func(p string) error {
		return withFile(p, unix.O_RDWR, func(fd int) error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2)
		})
	},
	"fsync": func(p string) error { return withFile(p, unix.O_RDONLY, unix.Fsync) },
	"seek hole": func(p string) error {
		return withFile(p, unix.O_RDONLY,
			func(fd int) error { _, err := unix.Seek(fd, 1<<40, unix.SEEK_HOLE); return err })
	},
	"list": func(p string) error {
		return withFile(p, unix.O_RDONLY,
			func(fd int) error { _, err := unix.ReadDirent(fd, make([]byte, 4096)); return err })
	},
	"link to new":     func(p string) error { return unix.Link(p, filepath.Join(filepath.Dir(p), "new-link")) },
	"link onto":       func(p string) error { return unix.Link(filepath.Join(errnoBase(p), "file"), p) },
	"rename away":     func(p string) error { return unix.Rename(p, filepath.Join(errnoBase(p), "open", "renamed")) },
	"rename onto":     func(p string) error { return unix.Rename(filepath.Join(errnoBase(p), "file"), p) },
	"rename dir onto": func(p string) error { return unix.Rename(filepath.Join(errnoBase(p), "empty"), p) },
	"rename below":    func(p string) error { return unix.Rename(p, filepath.Join(p, "below")) },
	"noreplace": func(p string) error {
		return unix.Renameat2(unix.AT_FDCWD, filepath.Join(errnoBase(p), "file"), unix.AT_FDCWD, p,
			unix.RENAME_NOREPLACE)
	},
	"exchange": func(p string) error {
		return unix.Renameat2(unix.AT_FDCWD, filepath.Join(errnoBase(p), "file"), unix.AT_FDCWD, p,
			unix.RENAME_EXCHANGE)
	},
	"whiteout": func(p string) error {
		return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, filepath.Join(errnoBase(p), "open", "renamed"),
			unix.RENAME_WHITEOUT)
	},
	"bad flags": func(p string) error {
		return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, filepath.Join(errnoBase(p), "open", "renamed"),
			unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE)
	},
}

// testACL gives user 1000 all rights: user::rw-, user:1000:rwx, group::r--, mask::rwx, other::---.
var testACL = []byte(
	"\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff",
)

func opens(flags int) func(string) error {
	return func(p string) error { return withFile(p, flags, func(int) error { return nil }) }
}

func withFile(p string, flags int, do func(fd int) error) error {
	fd, err := unix.Open(p, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

// errnoBase is the tree that a path is in.
func errnoBase(p string) string {
	i := strings.Index(p, "/tree/")
	return p[:i+len("/tree")]
}

// errnoTargets are the paths of the tree.
var errnoTargets = []string{
	"missing", "missing/child", "file", "file/child", "file/", "empty", "empty/", "full", "full/.", "full/..",
	"full/file", "link", "dirlink", "dirlink/file", "dangling", "loop",
	"loop/child", strings.Repeat("n", 255), strings.Repeat("n", 256), "readonly", "secret", "closed", "closed/file",
	"locked", "locked/file", "sticky/theirs", "sticky/ours",
	"sticky/new", "open/new", "fifo", "immutable", "appendonly", "fixed/file", "fixed/new", "growing/file",
	"growing/new", "setuid", "sgid/new", "theirs", "inherit/new", "hard", "device",
}

// makeErrnoTree makes the tree: as root, with some things that belong to user 1000 and some to user 1001.
func makeErrnoTree(base string) error {
	var failed error
	must := func(err error) {
		if err != nil && failed == nil {
			_, _, line, _ := runtime.Caller(1)
			failed = fmt.Errorf("line %d: %w", line, err)
		}
	}
	at := func(parts ...string) string { return filepath.Join(append([]string{base}, parts...)...) }
	dir := func(p string, mode os.FileMode, owner int) {
		must(os.Mkdir(at(p), 0o777))
		must(unix.Chmod(at(p), uint32(mode)))
		must(os.Chown(at(p), owner, owner))
	}
	file := func(p string, mode uint32, owner int) {
		must(os.WriteFile(at(p), []byte("contents of a file"), 0o666))
		must(os.Chown(at(p), owner, owner))
		must(unix.Chmod(at(p), mode))
	}
	dir("", 0o777, 1000)
	file("file", 0o644, 1000)
	must(unix.Setxattr(at("file"), "user.set", []byte("value"), 0))
	dir("empty", 0o755, 1000)
	dir("full", 0o755, 1000)
	file("full/file", 0o644, 1000)
	for _, l := range [][2]string{{"file", "link"}, {"full", "dirlink"}, {"nowhere", "dangling"}, {"loop", "loop"}} {
		must(os.Symlink(l[0], at(l[1])))
	}
	file("readonly", 0o444, 1000)
	file("secret", 0o000, 1001)
	dir("closed", 0o777, 1001)
	file("closed/file", 0o666, 1000)
	must(unix.Chmod(at("closed"), 0o000))
	dir("locked", 0o755, 1001)
	file("locked/file", 0o666, 1000)
	must(unix.Chmod(at("locked"), 0o555))
	dir("sticky", 0o1777, 1001)
	file("sticky/theirs", 0o666, 1001)
	file("sticky/ours", 0o666, 1000)
	dir("open", 0o777, 1000)
	must(unix.Mkfifo(at("fifo"), 0o666))
	file("setuid", 0o6775, 1000)
	dir("sgid", 0o2777, 1001)
	file("theirs", 0o644, 1001)
	dir("inherit", 0o777, 1000)
	must(unix.Setxattr(at("inherit"), "system.posix_acl_default", testACL, 0))
	file("hard", 0o644, 1000)
	must(os.Link(at("hard"), at("hard2")))
	must(unix.Mknod(at("device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	file("immutable", 0o666, 1000)
	file("appendonly", 0o666, 1000)
	dir("fixed", 0o777, 1000)
	file("fixed/file", 0o666, 1000)
	dir("growing", 0o777, 1000)
	file("growing/file", 0o666, 1000)
	for p, flags := range errnoFlags {
		must(setFlags(at(p), flags))
	}
	return failed
}

const immutableFlag, appendFlag = 0x10, 0x20

var errnoFlags = map[string]int{
	"immutable":  immutableFlag,
	"appendonly": appendFlag,
	"fixed":      immutableFlag,
	"growing":    appendFlag,
}

func setFlags(path string, flags int) error {
	return withFile(path, unix.O_RDONLY, func(fd int) error {
		old, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, old&^(immutableFlag|appendFlag)|flags)
	})
}

// cutLast cuts a case into operation and target.
func cutLast(c string) (op, target string) {
	i := strings.LastIndexByte(c, ' ')
	return c[:i], c[i+1:]
}

// runErrno runs every operation on every path of a fresh tree, as a user, and returns the result of each case.
func runErrno(t *testing.T, dir string, uid int, ops, targets []string) map[string]string {
	t.Helper()
	out := map[string]string{}
	base := filepath.Join(dir, "tree")
	for _, op := range ops {
		for _, target := range targets {
			if err := makeErrnoTree(base); err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
			p := base + "/" + target
			result := asUser(uid, func() error { return errnoOps[op](p) })
			out[op+" "+target] = result + errnoState(base, target)
			for f := range errnoFlags {
				_ = setFlags(filepath.Join(base, f), 0)
			}
			if err := os.RemoveAll(base); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// asUser runs an operation with a user's rights on files.
func asUser(uid int, do func() error) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _ = unix.SetfsgidRetGid(uid)
	_, _ = unix.SetfsuidRetUid(uid)
	err := do()
	_, _ = unix.SetfsuidRetUid(0)
	_, _ = unix.SetfsgidRetGid(0)
	if err == nil {
		return "ok"
	}
	if errno, ok := err.(syscall.Errno); ok {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// errnoState is what is at a path afterwards, and at the places that operations move it to.
func errnoState(base, target string) string {
	out := ""
	for _, p := range []string{target, "file", "open/renamed", "new-link"} {
		var st unix.Stat_t
		if unix.Lstat(base+"/"+p, &st) != nil {
			out += " -"
			continue
		}
		size := st.Size
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			size = 0
		}
		out += fmt.Sprintf(" %o:%d:%d:%d:%d", st.Mode, st.Nlink, size, st.Uid, st.Gid)
	}
	return out
}

// errnoExceptions are the cases that a FUSE file system cannot decide as ext4 does: the kernel answers them itself, and
// knows nothing of immutable and append-only files of a FUSE mount, nor that ext4's directories can be sought for
// holes.
func errnoException(op, target string) bool {
	fixed := strings.HasPrefix(target, "immutable") || strings.HasPrefix(target, "appendonly") ||
		strings.HasPrefix(target, "fixed") ||
		strings.HasPrefix(target, "growing")
	switch op {
	case "default acl", "rmdir", "rename dir onto":
		return fixed
	}
	return op == "seek hole"
}

// TestRW_Errno compares every operation on every kind of path with what the kernel's ext4 does, as root and as a user.
func TestRW_Errno(t *testing.T) {
	oracle.NeedRoot(t)
	kernel, _ := oracle.MountKernel(t, rwImage(t, "64M", "-b", "4096"), "rw,acl,user_xattr")
	image := rwImage(t, "64M", "-b", "4096")
	dir, unmount := mountImage(t, image, "-o", "rw,allow_other,dev,suid")
	for _, d := range []string{dir, kernel} { // the user must come as far as the mounts
		for ; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
			_ = os.Chmod(d, 0o755)
		}
	}
	ops := slices.Sorted(maps.Keys(errnoOps))
	if os.Getenv("VARVE_ERRNO_ALL") == "" { // a tenth of them, another one each day
		day := time.Now().YearDay()
		ops = slices.DeleteFunc(ops,
			func(op string) bool { return (slices.Index(slices.Sorted(maps.Keys(errnoOps)), op)+day)%10 != 0 })
	}
	for _, uid := range []int{0, 1000} {
		want, got := runErrno(t, kernel, uid, ops, errnoTargets), runErrno(t, dir, uid, ops, errnoTargets)
		differ := 0
		for _, c := range slices.Sorted(maps.Keys(want)) {
			op, target := cutLast(c)
			if want[c] != got[c] && !errnoException(op, target) {
				if differ++; differ < 60 {
					t.Errorf("user %d: %s:\n  kernel %s\n  varve  %s", uid, c, want[c], got[c])
				}
			}
		}
		t.Logf("user %d: %d cases, %d differ", uid, len(want), differ)
	}
	unmount()
	oracle.Clean(t, image)
}
