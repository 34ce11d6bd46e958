package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// encryptedImage has an encrypted directory "secret" of 300 files, a directory with a file in it, symlinks and a FIFO,
// which the kernel made with a key, and beside it a plain file and directory.
func encryptedImage(t *testing.T, mkfs ...string) string {
	t.Helper()
	image := oracle.NewImage(t, 64<<20, mkfs...)
	dir, unmount := oracle.MountKernel(t, image, "test_dummy_encryption")
	sub := filepath.Join(dir, "secret")
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "early"), []byte("plain"), 0o644),
		os.Mkdir(sub, 0o755), os.Mkdir(filepath.Join(sub, "small"), 0o755), os.Mkdir(filepath.Join(sub, "empty"), 0o755),
		os.WriteFile(filepath.Join(sub, "small", "one"), []byte("1"), 0o644),
		os.Symlink("where it leads", filepath.Join(sub, "link")),
		os.Symlink(strings.Repeat("far", 70), filepath.Join(sub, "long-link")),
		unix.Mkfifo(filepath.Join(sub, "fifo"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		name := fmt.Sprintf("%03d%s", i, strings.Repeat("n", i%250))
		if err := os.WriteFile(filepath.Join(sub, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	dir, unmount = oracle.MountKernel(t, image, "rw") // without the key: what is made here is plain
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "plain"), []byte("plain"), 0o644), os.Mkdir(filepath.Join(dir, "dir"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	return image
}

// encryptedNames finds the no-key names of one entry of each kind in "secret", by their attributes.
func encryptedNames(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, e := range entries {
		path := filepath.Join("secret", e.Name())
		inside, _ := os.ReadDir(filepath.Join(dir, path))
		switch kind := e.Type(); {
		case kind.IsDir() && len(inside) > 0:
			names["full"] = path
			names["inner"] = filepath.Join(path, inside[0].Name())
		case kind.IsDir():
			names["empty"] = path
		case kind&os.ModeSymlink != 0:
			names["link"] = path
		case kind&os.ModeNamedPipe != 0:
			names["fifo"] = path
		case kind.IsRegular() && (names["file"] == "" || path < names["file"]):
			names["file"] = path
		}
	}
	return names
}

// encryptedSteps are operations in an encrypted directory and beside it, without the key.
func encryptedSteps(dir string, names map[string]string) []error {
	at := func(name string) string {
		if found := names[name]; found != "" {
			name = found
		}
		return filepath.Join(dir, name)
	}
	open := func(name string, flags int) error {
		f, err := os.OpenFile(at(name), flags, 0o644)
		if err == nil {
			f.Close()
		}
		return err
	}
	setFlags := func(name string, flags int) error {
		f, err := os.Open(at(name))
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	_, readErr := os.ReadFile(at("file"))
	return []error{
		readErr,
		open("file", os.O_RDONLY), open("file", os.O_RDWR), open("file", os.O_WRONLY|os.O_TRUNC),
		open("file", os.O_CREATE|os.O_EXCL|os.O_RDWR), open("secret/new", os.O_CREATE|os.O_RDWR),
		open("secret/new", os.O_RDONLY), open("secret", unix.O_TMPFILE|os.O_RDWR), open("dir", unix.O_TMPFILE|os.O_RDWR),
		os.Truncate(at("file"), 1), os.Chmod(at("file"), 0o600), os.Chown(at("file"), 3, 4),
		unix.Setxattr(at("file"), "user.a", []byte("b"), 0),
		os.Mkdir(at("secret/new"), 0o755), os.Symlink("x", at("secret/new")), unix.Mkfifo(at("secret/new"), 0o600),
		os.Link(at("plain"), at("secret/new")), os.Link(at("file"), at("secret/new")), os.Link(at("file"), at("dir/linked")),
		os.Rename(at("file"), at("secret/new")), os.Rename(at("file"), at("dir/moved")),
		os.Rename(at("plain"), at("secret/new")), os.Rename(at("plain"), at("file")),
		unix.Renameat2(unix.AT_FDCWD, at("plain"), unix.AT_FDCWD, at("fifo"), unix.RENAME_EXCHANGE),
		unix.Renameat2(unix.AT_FDCWD, at("plain"), unix.AT_FDCWD, at("fifo"), unix.RENAME_NOREPLACE),
		os.Rename(at("dir"), at("empty")),
		setFlags("secret", disk.InodeNoDump), setFlags("file", disk.InodeNoDump), setFlags("secret", 0),
		open("dir/linked", os.O_RDONLY), os.Rename(at("dir/linked"), at("dir/renamed")),
		unix.Rmdir(at("dir")), unix.Rmdir(at("file")), unix.Unlink(at("empty")), unix.Unlink(at("secret/new")),
		unix.Rmdir(at("full")),
		unix.Unlink(at("file")), unix.Unlink(at("link")), unix.Unlink(at("fifo")), unix.Rmdir(at("empty")),
		unix.Unlink(at("inner")), os.Rename(at("secret"), at("dir/secret")), os.Rename(at("dir/secret"), at("secret")),
		os.Remove(at("dir/renamed")), os.Rename(at("plain"), at("dir/plain")),
		os.WriteFile(at("more"), []byte("more"), 0o644),
	}
}

// TestRW_Encrypted does the same on two copies of an image, through the kernel's ext4 and through varve, both without
// the key: each step has the same error, and what is left is the same with and without the key.
func TestRW_Encrypted(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, mkfs := range [][]string{{"-b", "1024", "-O", "encrypt"}, {"-O", "encrypt,^dir_index"}} {
		t.Run(strings.Join(mkfs, " "), func(t *testing.T) {
			image := encryptedImage(t, mkfs...)
			copied := oracle.Copy(t, image)
			dir, unmount := oracle.MountKernel(t, copied, "rw")
			names := encryptedNames(t, dir)
			if len(names) != 6 {
				t.Fatalf("names: %v", names)
			}
			want := encryptedSteps(dir, names)
			unmount()
			dir, unmount = mountImage(t, image, "-o", "rw")
			got := encryptedSteps(dir, names)
			unmount()
			for i := range want {
				if errnoIn(got[i]) != errnoIn(want[i]) {
					t.Errorf("step %d: %v, by the kernel %v", i, got[i], want[i])
				}
			}
			oracle.Clean(t, image)
			for _, options := range []string{"ro", "ro,test_dummy_encryption"} {
				compareKernel(t, image, copied, options)
			}
		})
	}
}

func errnoIn(err error) unix.Errno {
	var errno unix.Errno
	errors.As(err, &errno)
	return errno
}

// compareKernel compares two images as the kernel's ext4 shows them.
func compareKernel(t *testing.T, image, with, options string) {
	t.Helper()
	dir, unmount := oracle.MountKernel(t, image, options)
	got, unread := oracle.TreeOf(dir)
	unmount()
	dir, unmount = oracle.MountKernel(t, with, options)
	want, alsoUnread := oracle.TreeOf(dir)
	unmount()
	if len(unread) != len(alsoUnread) {
		t.Errorf("%s: %d files cannot be read, expected %d", options, len(unread), len(alsoUnread))
	}
	oracle.Compare(t, "kernel", want, "varve", got, "times")
}
