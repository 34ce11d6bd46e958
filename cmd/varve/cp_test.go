package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_CopyAndTar copies a whole tree out of an image in both ways, and compares it with the kernel's mount.
func TestCLI_CopyAndTar(t *testing.T) {
	oracle.NeedRoot(t)
	image := oracle.NewImage(t, 128<<20)
	kernel, unmount := oracle.MountKernel(t, image, "")
	oracle.Fill(t, kernel, oracle.Filling{Wide: 100, Xattrs: true})
	unmount()
	kernel, _ = oracle.MountKernel(t, image, "ro")
	want := oracle.Tree(t, kernel)
	out := filepath.Join(t.TempDir(), "out")
	if r := must(t, "cp", image, "/", out); r.Stderr != "" {
		t.Errorf("cp: %s", r.Stderr)
	}
	got := oracle.Tree(t, out)
	want, got = oracle.Kept(want), oracle.Kept(got)
	oracle.Compare(t, "kernel", want, "cp", got)

	archive := filepath.Join(t.TempDir(), "tar")
	must(t, "tar", image, "-o", archive)
	back := filepath.Join(t.TempDir(), "back")
	if err := os.Mkdir(back, 0o755); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", archive, "-C", back)
	got = oracle.Kept(oracle.Tree(t, back))
	delete(want, "types/socket") // no archive can hold one
	oracle.Compare(t, "kernel", want, "tar", got)
	first := must(t, "tar", image, "/names")
	if h, err := tar.NewReader(strings.NewReader(first.Stdout)).Next(); err != nil || h.Name != "./" {
		t.Errorf("the archive begins with %+v, %v", h, err)
	}
}

// TestCopier_SetID keeps setuid and setgid only with the owner and the group: another user's program must not run as
// the user who copied it.
func TestCopier_SetID(t *testing.T) {
	oracle.Need(t, "debugfs")
	image, dir := smallImage(t), t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	debugfs(t, image, "sif /hello mode 0106755\nsif /hello uid 12345\nsif /dir mode 043777\n"+
		"sif /dir/inner mode 0106755\nsif /dir/inner uid 65534\n")
	for uid, want := range map[uintptr]map[string]os.FileMode{
		0: {"hello": 0o755 | os.ModeSetuid | os.ModeSetgid, "dir": 0o777 | os.ModeSetgid | os.ModeSticky,
			"dir/inner": 0o755 | os.ModeSetuid | os.ModeSetgid},
		program.Stranger: {"hello": 0o755, "dir": 0o777 | os.ModeSticky, "dir/inner": 0o755 | os.ModeSetuid | os.ModeSetgid},
	} {
		to := filepath.Join(dir, strconv.Itoa(int(uid)))
		program.AsUser(t, uid, func() error {
			var stderr bytes.Buffer
			if code := run([]string{"varve", "cp", image, "/", to}, io.Discard, &stderr); code != exitOK {
				return fmt.Errorf("exit code %d: %s", code, stderr.String())
			}
			return nil
		})
		for name, want := range want {
			info, err := os.Stat(filepath.Join(to, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode() & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky); got != want {
				t.Errorf("user %d: %s has mode %v, expected %v", uid, name, got, want)
			}
		}
	}
}
