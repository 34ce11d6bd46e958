package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSync_Refused: a directory that is no mount of varve's is not synced, and neither it nor its mount is asked.
func TestSync_Refused(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, "/proc", filepath.Join(dir, "missing", "below")} {
		if err := Sync(path); err == nil {
			t.Errorf("%s was synced", path)
		}
		if _, err := AskStats(path); err == nil {
			t.Errorf("%s has statistics", path)
		}
	}
}

// TestDetach_NoMount: a directory that is no mount cannot be detached, nor unmounted.
func TestDetach_NoMount(t *testing.T) {
	dir := t.TempDir()
	if err := Detach(dir); err == nil {
		t.Error("a folder was detached")
	}
	if err := unmountPatiently(dir); err == nil || errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
}

// TestMountError: the error is the one of below, by its words and its kind.
func TestMountError(t *testing.T) {
	err := error(&MountError{Err: syscall.ENODEV})
	if err.Error() != syscall.ENODEV.Error() || !errors.Is(err, syscall.ENODEV) {
		t.Errorf("%v", err)
	}
}
