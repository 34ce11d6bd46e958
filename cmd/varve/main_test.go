package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// Mounts are served by the real program in a process of its own: client and server in one Go process can deadlock.
var build struct {
	once sync.Once
	dir  string
	err  error
}

// program builds varve, with the race detector where the tests have it.
func program(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "varve-test-"); build.err != nil {
			return
		}
		args := []string{"build", "-tags", tags, "-o", build.dir + "/varve"}
		if raceEnabled {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.dir + "/varve"
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// result is what a run of the program left.
type result struct {
	stdout, stderr string
	code           int
}

// varve runs the program.
func varve(t testing.TB, args ...string) result {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs the program and fails the test unless it exits with 0.
func must(t testing.TB, args ...string) result {
	t.Helper()
	r := varve(t, args...)
	if r.code != 0 {
		t.Fatalf("varve %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// mountImage mounts an image with the program until the test ends, or until the returned function is called.
func mountImage(t testing.TB, image string, args ...string) (dir string, unmount func()) {
	t.Helper()
	oracle.NeedFUSE(t)
	dir = filepath.Join(t.TempDir(), "varve")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, append([]string{"mount", image, dir}, args...)...)
	done := false
	unmount = func() {
		if !done {
			done = true
			must(t, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}
