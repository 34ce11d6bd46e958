package main

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// deepImage has so many directories within one another, with long names, and in each eighth a file with two names.
func deepImage(t *testing.T, depth int) string {
	t.Helper()
	image := rwImage(t, "32M", "-b", "1024", "-N", "8192")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	defer unmount()
	at, err := unix.Open(dir, unix.O_PATH, 0)
	fatal(t, err)
	name := strings.Repeat("d", 255)
	for i := range depth {
		if i%8 == 0 {
			f, err := unix.Openat(at, "file", unix.O_CREAT, 0o644)
			fatal(t, err)
			unix.Close(f)
			fatal(t, unix.Linkat(at, "file", at, "other", 0))
		}
		fatal(t, unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_PATH, 0)
		fatal(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	return image
}

// TestWalk_Deep: memory grows with the tree, and not with the lengths of all of its paths together, which are 25 MB
// here.
func TestWalk_Deep(t *testing.T) {
	oracle.NeedRoot(t)
	image := deepImage(t, 400)
	for _, args := range [][]string{{"tar", "-o", os.DevNull, image}, {"tree", "--json", image},
		{"diff", image, filepath.Join(t.TempDir(), "overlay")}} {
		if args[0] == "diff" {
			dir, unmount := mountImage(t, image, "--overlay", args[2])
			fatal(t, os.RemoveAll(filepath.Join(dir, strings.Repeat("d", 255))))
			unmount()
		}
		if used := heapOf(t, args...); used > 36 {
			t.Errorf("%s takes %d MB", args[0], used)
		}
	}
}

// heapOf runs the program, and returns the largest heap that its collector saw, in MB.
func heapOf(t *testing.T, args ...string) (most int) {
	t.Helper()
	cmd := exec.Command(program.Path(t), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1")
	fatal(t, cmd.Run())
	for _, m := range regexp.MustCompile(`, (\d+)->(\d+)->\d+ MB,`).FindAllStringSubmatch(stderr.String(), -1) {
		for _, s := range m[1:] {
			n, err := strconv.Atoi(s)
			fatal(t, err)
			most = max(most, n)
		}
	}
	if most == 0 {
		t.Errorf("the collector of varve %s says nothing: %s", args[0], stderr.String())
	}
	return most
}

// TestPlace_String: a place has the path that its names make.
func TestPlace_String(t *testing.T) {
	for _, top := range []string{"/", ".", "/a/b", "a/", "a/../b", "//x"} {
		p, want := &place{name: top}, top
		for depth, name := range []string{"one", "two", "three"} {
			if p.String() != want {
				t.Errorf("%q at depth %d: %q, expected %q", top, depth, p.String(), want)
			}
			p, want = &place{up: p, name: name, depth: depth + 1}, path.Join(want, name)
		}
	}
}
