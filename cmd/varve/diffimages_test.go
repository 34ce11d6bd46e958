package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// TestDiff_Images finds each kind of difference that the kernel makes in a copy of an image, and nothing else.
func TestDiff_Images(t *testing.T) {
	image := smallImage(t)
	other := oracle.Copy(t, image)
	checkCommands(t, []commandCase{{[]string{"diff", image, other}, exitOK, "", ""}})
	dir, unmount := oracle.MountKernel(t, other, "")
	at := func(name string) string { return filepath.Join(dir, name) }
	mtime := func(name string) unix.Timespec {
		var st unix.Stat_t
		fatal(t, unix.Lstat(at(name), &st))
		return st.Mtim
	}
	before := mtime("hello")
	root, inDir := mtime("."), mtime("dir")
	fatal(t, os.WriteFile(at("hello"), []byte("HELLO, world\n"), 0o644)) // of the same length and time
	fatal(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("hello"), []unix.Timespec{before, before}, 0))
	fatal(t, os.Remove(at("link")))
	fatal(t, os.Symlink("elsewhere", at("link")))
	fatal(t, os.Chmod(at("dir/inner"), 0o600))
	fatal(t, os.Chown(at("dir/inner"), 7, 8))
	fatal(t, unix.Setxattr(at("dir/sub"), "user.note", []byte("x"), 0))
	fatal(t, os.Remove(at("dir/sub/deep")))
	fatal(t, os.Mkdir(at("new"), 0o755))
	fatal(t, os.WriteFile(at("new/file"), nil, 0o644))
	fatal(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{root, root}, 0))
	fatal(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("dir"), []unix.Timespec{inDir, inDir}, 0))
	unmount()
	want := []string{"C /hello (contents)", "C /link (target, mtime)", "T /dir/inner (mode, owner)",
		"T /dir/sub (xattrs, mtime)", "R /dir/sub/deep", "A /new", "A /new/file"}
	r := command(t, "diff", image, other)
	got := strings.Split(strings.TrimSuffix(r.Stdout, "\n"), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if r.Code != exitOK || !slices.Equal(got, want) {
		t.Errorf("%q, expected %q; %+v", got, want, r)
	}
	var doc struct {
		Image   string
		Other   string `json:"other_image"`
		Changes []change
	}
	parseJSON(t, &doc, "diff", "--json", image, other)
	if doc.Image != image || doc.Other != other || len(doc.Changes) != len(want) {
		t.Errorf("%+v", doc)
	}
}

// judgeSame compares an image with itself.
func judgeSame(t *testing.T, image string, judged map[string]int) {
	out, code := answers(t, "diff", image, image)
	if code != exitOK {
		return
	}
	if judged["same"]++; out != "" {
		t.Errorf("it differs from itself: %s", out)
	}
}
