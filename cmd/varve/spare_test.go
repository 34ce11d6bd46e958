package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_OutputIsImage refuses to write an archive, a trace or a ledger over the image that is read, by its name, a link or a symlink.
func TestCLI_OutputIsImage(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := smallImage(t), t.TempDir()
	hard, soft := image+".hard", image+".soft"
	if err := os.Link(image, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(image, soft); err != nil {
		t.Fatal(err)
	}
	before := oracle.HashFile(t, image)
	for _, to := range []string{image, hard, soft} {
		for _, args := range [][]string{
			{"tar", image, "-o", to}, {"mount", image, dir, "-o", "trace=" + to}, {"mount", "--rw", "--evidence", to, image, dir},
		} {
			if r := program.Run(t, args...); r.Code == exitOK || !strings.Contains(r.Stderr, "itself") {
				t.Errorf("varve %s: %+v", strings.Join(args, " "), r)
			}
			if info, _ := daemon.FindMount(dir); info != nil {
				program.MustRun(t, "umount", dir)
			}
		}
	}
	if oracle.HashFile(t, image) != before {
		t.Error("the image changed")
	}
}

// TestOverlay_Mode makes an overlay that only its owner may read, whatever the umask: it gets contents that the image's file system keeps from others.
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

// TestCopier_SetID keeps setuid and setgid only with the owner and the group: another user's program must not run as the user who copied it.
func TestCopier_SetID(t *testing.T) {
	oracle.Need(t, "debugfs")
	image, dir := smallImage(t), t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	debugfs(t, image, "sif /hello mode 0106755\nsif /hello uid 12345\nsif /dir mode 043777\nsif /dir/inner mode 0106755\nsif /dir/inner uid 65534\n")
	for uid, want := range map[uintptr]map[string]os.FileMode{
		0:                {"hello": 0o755 | os.ModeSetuid | os.ModeSetgid, "dir": 0o777 | os.ModeSetgid | os.ModeSticky, "dir/inner": 0o755 | os.ModeSetuid | os.ModeSetgid},
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
