package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
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

// TestWalk_Deep: memory grows with the tree, and not with the lengths of all of its paths together, which are 25 MB here.
func TestWalk_Deep(t *testing.T) {
	oracle.NeedRoot(t)
	image := deepImage(t, 400)
	for _, args := range [][]string{{"tar", "-o", os.DevNull, image}, {"tree", "--json", image}, {"diff", image, filepath.Join(t.TempDir(), "overlay")}} {
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

// TestTree_JSON: what is printed as the tree is walked is one document, with each node below its directory.
func TestTree_JSON(t *testing.T) {
	oracle.NeedRoot(t)
	image := rwImage(t, "16M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	for _, d := range []string{"a/b/c", "a/empty", "z"} {
		fatal(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, f := range []string{"a/b/c/file", "a/file", "file"} {
		fatal(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
	unmount()
	var doc struct {
		SchemaVersion int   `json:"schema_version"`
		Root          *node `json:"root"`
	}
	names := func(level string) string {
		fatal(t, json.Unmarshal([]byte(must(t, "tree", "--json", "--level", level, image).Stdout), &doc))
		var out []string
		var add func(d *node)
		add = func(d *node) {
			out = append(out, d.Path)
			for _, c := range d.Children {
				add(c)
			}
		}
		add(doc.Root)
		doc.Root = nil
		return strings.Join(out, " ")
	}
	for level, want := range map[string]string{
		"0": "/ /a /a/b /a/b/c /a/b/c/file /a/empty /a/file /file /lost+found /z",
		"2": "/ /a /a/b /a/empty /a/file /file /lost+found /z",
		"1": "/ /a /file /lost+found /z",
	} {
		if got := names(level); got != want {
			t.Errorf("level %s: %s, expected %s", level, got, want)
		}
	}
}

// TestTar_Header: what no archive can hold, such as an attribute with an equals sign in its name, is reported, and the rest is there.
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
	if got := oracle.MustRun(t, "tar", "-tf", archive); got != "./\na\nc\nlost+found/\n" || r.Code == 0 || !strings.Contains(r.Stderr, "varve: b: ") {
		t.Errorf("%q, exit code %d: %s", got, r.Code, r.Stderr)
	}
}
