package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestMountHelper turns the arguments of mount(8) into those of varve mount.
func TestMountHelper(t *testing.T) {
	for in, want := range map[string]string{
		"disk /mnt":                                   "mount disk /mnt --quiet",
		"disk /mnt -o ro":                             "mount disk /mnt -o ro --quiet",
		"disk /mnt -o rw":                             "mount disk /mnt -o  --quiet",
		"disk /mnt -o rw,part=2":                      "mount disk /mnt -o part=2 --quiet",
		"disk /mnt -o rw,commit=5":                    "mount disk /mnt -o rw,commit=5 --quiet",
		"disk /mnt -o rw,overlay=/o":                  "mount disk /mnt -o rw,overlay=/o --quiet",
		"disk /mnt -o rw,nonsense":                    "mount disk /mnt -o rw,nonsense --quiet",
		"disk /mnt -sv -t varve -N /proc/1/ns/mnt":    "mount disk /mnt",
		"disk /mnt -n -o ro,x-systemd.automount -o a": "mount disk /mnt -o ro,x-systemd.automount -o a --quiet",
	} {
		got, err := mountHelperArgs(strings.Split(in, " "))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("mount.varve %s: %q, %v; expected %q", in, got, err, want)
		}
	}
	if _, err := mountHelperArgs([]string{"disk", "/mnt", "-f"}); !errors.Is(err, errDryRun) {
		t.Errorf("-f: %v", err)
	}
	for _, bad := range []string{"disk", "disk /mnt more", "disk /mnt -x", "disk /mnt --help"} {
		if _, err := mountHelperArgs(strings.Split(bad, " ")); exitCode(err) != exitUsage ||
			!strings.Contains(err.Error(), "usage") {
			t.Errorf("mount.varve %s: %v", bad, err)
		}
	}
}

// TestUmountHelper turns the arguments of umount(8) into those of varve umount.
func TestUmountHelper(t *testing.T) {
	for in, want := range map[string][]string{
		"/mnt":                {"umount", "/mnt"},
		"/mnt -l":             {"umount", "/mnt", "--lazy"},
		"/mnt -fnrv -t varve": {"umount", "/mnt"},
		"/mnt -N /proc/1/ns":  {"umount", "/mnt"},
	} {
		if got, err := umountHelperArgs(strings.Split(in, " ")); err != nil || !slices.Equal(got, want) {
			t.Errorf("umount.varve %s: %q, %v; expected %q", in, got, err, want)
		}
	}
	if _, err := umountHelperArgs([]string{"/mnt", "-x"}); exitCode(err) != exitUsage {
		t.Errorf("-x: %v", err)
	}
}

// TestHelper_Names: the name of the program chooses the helper.
func TestHelper_Names(t *testing.T) {
	for name, want := range map[string]int{"mount.varve": exitUsage, "umount.varve": exitUsage,
		"umount.fuse.varve": exitUsage, "varve": exitOK} {
		var args []string
		if want == exitUsage {
			args = []string{"-x"}
		}
		if code := run(append([]string{"/sbin/" + name}, args...), io.Discard, io.Discard); code != want {
			t.Errorf("%s: exit code %d, expected %d", name, code, want)
		}
	}
	if code := run([]string{"/sbin/mount.varve", "disk", "/mnt", "-f"}, io.Discard, io.Discard); code != exitOK {
		t.Errorf("mount -f: exit code %d", code)
	}
}
