package oracle

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Need ends the test where something it cannot do without is missing: a judge that is missing is a failure, not a skip.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is missing: run make deps", p)
		}
	}
}

// NeedRoot skips the test, loudly, where the kernel's ext4 cannot be mounted for want of root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: not root, so the kernel's ext4 cannot be mounted to compare with")
	}
}

// NeedFUSE skips the test, loudly, where there is no FUSE.
func NeedFUSE(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("SKIP: nothing can be mounted here: %v", err)
	}
}

// busyFor is how long umount is tried again while a mount is busy: other programs of the machine touch mounts for a
// moment.
const busyFor = 15 * time.Second

// WhileBusy runs umount until it succeeds, fails otherwise than by a mount that is busy, or that is so for long.
func WhileBusy(umount func() (says string, ok bool)) {
	for until := time.Now().Add(busyFor); ; time.Sleep(50 * time.Millisecond) {
		if says, ok := umount(); ok || !strings.Contains(says, "busy") || time.Now().After(until) {
			return
		}
	}
}

// MustRun runs a program and returns its output; a failure ends the test.
func MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	run := func() (string, bool) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return string(out), err == nil
	}
	if name == "umount" {
		WhileBusy(run)
	} else {
		run()
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Clean fails the test unless e2fsck calls the image clean.
func Clean(t testing.TB, image string) {
	t.Helper()
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn %s: %v\n%s", image, err, out)
	}
}
