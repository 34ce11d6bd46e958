package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// TestTar_Header: what no archive can hold, such as an attribute with an equals sign in its name, is reported, and the
// rest is there.
func TestTar_Header(t *testing.T) {
	oracle.NeedRoot(t)
	image := rwImage(t, "16M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	for _, name := range []string{"a", "b", "c"} {
		fatal(t, os.WriteFile(filepath.Join(dir, name), []byte("contents"), 0o644))
	}
	fatal(t, unix.Setxattr(filepath.Join(dir, "b"), "user.x=y", []byte("1"), 0))
	unmount()
	archive := filepath.Join(t.TempDir(), "archive")
	r := varve(t, "tar", "-o", archive, image)
	if got := oracle.MustRun(t, "tar", "-tf", archive); got != "./\na\nc\nlost+found/\n" || r.Code == 0 ||
		!strings.Contains(r.Stderr, "varve: b: ") {
		t.Errorf("%q, exit code %d: %s", got, r.Code, r.Stderr)
	}
}
