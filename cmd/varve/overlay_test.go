package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestOverlay writes over images that are not written in place: without a journal, and with one that needs recovery's
// place. The image's bytes stay as they are until the commit, and are then what the mount showed.
func TestOverlay(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4":       nil,
		"as ext2":    {"-O", "^has_journal,^extent,^metadata_csum,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize"},
		"no journal": {"-O", "^has_journal"},
	} {
		t.Run(name, func(t *testing.T) {
			image := rwImage(t, "64M", mkfs...)
			file := filepath.Join(t.TempDir(), "overlay")
			before := oracle.HashFile(t, image)
			dir, unmount := mountImage(t, image, "--overlay", file)
			fillOverlay(t, dir)
			unmount()
			if oracle.HashFile(t, image) != before {
				t.Fatal("the image was changed")
			}
			if out := must(t, "diff", image, file).Stdout; out != "A /dir\nA /dir/a\nA /dir/b\n" {
				t.Errorf("diff says %q", out)
			}
			var report struct {
				SchemaVersion  int `json:"schema_version"`
				Image, Overlay string
				Changes        []change
			}
			if err := json.Unmarshal([]byte(must(t, "diff", "--json", image, file).Stdout), &report); err != nil ||
				len(report.Changes) != 3 {
				t.Errorf("diff --json: %v, %+v", err, report)
			}
			dir, unmount = mountImage(t, image, "-o", "overlay="+file)
			want := oracle.Tree(t, dir)
			unmount()
			if oracle.HashFile(t, image) != before {
				t.Fatal("the image was changed")
			}
			must(t, "commit", image, file)
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("the overlay is still there: %v", err)
			}
			oracle.Clean(t, image)
			dir, _ = mountImage(t, image)
			oracle.Compare(t, "the overlay", want, "the image", oracle.Tree(t, dir), "times")
		})
	}
}

func fillOverlay(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, "dir", f), []byte(strings.Repeat(f, 50_000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOverlay_Refusals are those of an image that was changed, of files that are no overlays, and of data=journal
// without a journal.
func TestOverlay_Refusals(t *testing.T) {
	image := rwImage(t, "32M", "-O", "^has_journal")
	file := filepath.Join(t.TempDir(), "overlay")
	dir := t.TempDir()
	if r := varve(t, "mount", "-o", "rw,data=journal", image, dir); r.Code != exitMount ||
		!strings.Contains(r.Stderr, "tune2fs -j") {
		t.Errorf("data=journal without a journal: %+v", r)
	}
	mnt, unmount := mountImage(t, image, "--overlay", file)
	fillOverlay(t, mnt)
	if r := varve(t, "discard", file); r.Code == 0 {
		t.Error("an overlay in use was discarded")
	}
	unmount()
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(image, later, later); err != nil {
		t.Fatal(err)
	}
	moved := image + ".moved"
	if err := os.Rename(image, moved); err != nil {
		t.Fatal(err)
	}
	must(t, "diff", moved, file) // another time and name change nothing
	if err := os.Rename(moved, image); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "tune2fs", "-L", "changed", image)
	for _, args := range [][]string{{"mount", "--overlay", file, image, dir}, {"commit", image, file},
		{"diff", image, file}} {
		if r := varve(t, args...); r.Code == 0 || !strings.Contains(r.Stderr, "changed since") {
			t.Errorf("varve %v on a changed image: %+v", args, r)
		}
	}
	if r := varve(t, "discard", image); r.Code == 0 || !strings.Contains(r.Stderr, "no overlay") {
		t.Errorf("an image was discarded: %+v", r)
	}
	if out := must(t, "diff", "--adopt", image, file).Stdout; !strings.Contains(out, "A /dir") {
		t.Errorf("adopted, the overlay shows %q", out)
	}
	must(t, "diff", image, file) // from now on it is this image's
	must(t, "discard", file)
}

// TestOverlay_CommitKilled ends varve commit by SIGKILL again and again, and then lets it end by itself: the image
// holds what the overlay held.
func TestOverlay_CommitKilled(t *testing.T) {
	image := rwImage(t, "64M")
	file := filepath.Join(t.TempDir(), "overlay")
	dir, unmount := mountImage(t, image, "--overlay", file)
	for i := range 40 {
		contents := bytes.Repeat([]byte{byte(i)}, 500_000)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), contents, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := oracle.Tree(t, dir)
	unmount()
	killed := 0
	for i := range 12 {
		cmd := exec.Command(program.Path(t), "commit", image, file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(5+4*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		if cmd.Wait() == nil {
			break
		}
		killed++
	}
	if _, err := os.Stat(file); err == nil {
		must(t, "commit", image, file)
	}
	if killed == 0 {
		t.Error("no commit was cut off")
	}
	oracle.Clean(t, image)
	dir, _ = mountImage(t, image)
	oracle.Compare(t, "the overlay", want, "the image", oracle.Tree(t, dir), "times")
}

// TestOverlay_CommitInterrupted ends a commit by a signal's context, says so, and goes on when it is called again.
func TestOverlay_CommitInterrupted(t *testing.T) {
	image, overlay := smallImage(t), filepath.Join(t.TempDir(), "overlay")
	dir, unmount := program.Mount(t, image, "--overlay", overlay)
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("new\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	unmount()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"commit", image, overlay})
	if err := root.ExecuteContext(ctx); exitCode(err) != exitInterrupted {
		t.Errorf("%v: exit code %d", err, exitCode(err))
	}
	program.MustRun(t, "commit", image, overlay)
	if r := program.MustRun(t, "cat", image, "/new"); r.Stdout != "new\n" {
		t.Errorf("%+v", r)
	}
	oracle.Clean(t, image)
}

// TestOverlay_Mode makes an overlay that only its owner may read, with any umask: it gets contents that the image's
// file system keeps from others.
func TestOverlay_Mode(t *testing.T) {
	oracle.NeedFUSE(t)
	defer syscall.Umask(syscall.Umask(0))
	overlay := filepath.Join(t.TempDir(), "overlay")
	program.Mount(t, smallImage(t), "--overlay", overlay)
	info, err := os.Stat(overlay)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
