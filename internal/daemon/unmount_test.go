package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnmount_Refused: directories that varve did not mount stay as they are.
func TestUnmount_Refused(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir: "is not mounted", "/proc": "type proc", filepath.Join(dir, "missing", "below"): "no such file",
	} {
		for _, lazy := range []bool{false, true} {
			if err := Unmount(path, lazy, time.Second); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, expected %q", path, err, want)
			}
		}
	}
}

// TestMountPoint takes directories only, and returns them by their absolute paths.
func TestMountPoint(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(os.Mkdir("mnt", 0o755), os.WriteFile("file", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if got, err := MountPoint("mnt", false); err != nil || got != filepath.Join(dir, "mnt") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := MountPoint("file", false); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
	if _, err := MountPoint("missing", true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
}

// TestResolve follows symlinks, and leaves a last name alone that cannot be looked at.
func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := errors.Join(os.Mkdir("real", 0o755), os.Symlink("real", "link")); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"link": "real", "real": "real", "link/gone": "real/gone", "./link/../real": "real",
		filepath.Join(dir, "link"): "real",
	} {
		if got, err := resolve(in); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, %v; expected %s", in, got, err, want)
		}
	}
	if _, err := resolve("gone/below"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestBusy: the message of a busy mount has its reason once.
func TestBusy(t *testing.T) {
	err := errors.Join(busy{})
	if !errors.Is(err, syscall.EBUSY) || err.Error() != "" {
		t.Errorf("%q", err)
	}
}
