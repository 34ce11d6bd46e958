package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestRW_Casefold: through a mount no name that the kernel remembers in one case hides what was done in another.
func TestRW_Casefold(t *testing.T) {
	oracle.NeedFUSE(t)
	image := oracle.NewImage(t, 16<<20, "-O", "casefold", "-E", "encoding=utf8")
	root, unmount := mountImage(t, image, "-o", "rw")
	dir := filepath.Join(root, "dir")
	at := func(name string) string { return filepath.Join(dir, name) }
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string, want bool) {
		t.Helper()
		if _, err := os.Lstat(at(name)); (err == nil) != want {
			t.Errorf("%s: %v, expected it there: %v", name, err, want)
		}
	}
	fatal(os.Mkdir(dir, 0o755))
	there("FOO", false)
	f, err := os.Open(dir)
	fatal(err)
	fatal(unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, disk.InodeExtents|disk.InodeCasefold))
	fatal(f.Close())
	fatal(os.WriteFile(at("foo"), []byte("contents"), 0o644))
	there("FOO", true)
	there("Foo", true)
	fatal(os.Remove(at("FOO")))
	there("foo", false)
	there("Foo", false)
	fatal(os.WriteFile(filepath.Join(root, "plain"), nil, 0o644))
	fatal(os.Rename(filepath.Join(root, "plain"), at("BAR")))
	fatal(os.Remove(at("bar")))
	there("BAR", false)
	fatal(os.Mkdir(at("Sub"), 0o755))
	fatal(os.WriteFile(at("SUB/File"), nil, 0o644))
	there("sub/FILE", true)
	unmount()
	oracle.Clean(t, image)
}
