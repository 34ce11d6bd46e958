package oracle

import (
	"os"
	"os/exec"
	"strings"
	"testing"
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

// MustRun runs a program and returns its output; a failure ends the test.
func MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
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
