// Package program builds the varve program for tests, and runs it in a process of its own: a client and a server of one
// mount in one Go process can deadlock.
package program

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

var build struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// pathVariable gives the program to the tests that a test starts: linking it takes seconds.
const pathVariable = "VARVE_TEST_PROGRAM"

// Path builds the program, with the race detector and the build tags that the tests have.
func Path(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.path = os.Getenv(pathVariable); build.path != "" {
			return
		}
		if build.dir, build.err = os.MkdirTemp("", "varve-test-"); build.err != nil {
			return
		}
		build.path = filepath.Join(build.dir, "varve")
		args := []string{"build", "-tags", hooks + invariants, "-ldflags", "-s -w", "-o", build.path}
		if Race {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/varvefs/varve/cmd/varve")...).CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w: %s", err, out)
			return
		}
		build.err = os.Setenv(pathVariable, build.path)
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// Main is a TestMain: it runs the tests, and removes the program.
func Main(m *testing.M) {
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// Result is the outcome of a run.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs the program.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	cmd := exec.Command(Path(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// MustRun runs the program, and fails the test unless the exit code is 0.
func MustRun(t testing.TB, args ...string) Result {
	t.Helper()
	var r Result
	run := func() (string, bool) {
		r = Run(t, args...)
		return r.Stderr, r.Code == 0
	}
	if args[0] == "umount" {
		oracle.WhileBusy(run)
	} else {
		run()
	}
	if r.Code != 0 {
		t.Fatalf("varve %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// Mount mounts an image until the test ends, or until the returned function is called.
func Mount(t testing.TB, image string, args ...string) (dir string, unmount func()) {
	t.Helper()
	oracle.NeedFUSE(t)
	dir = filepath.Join(t.TempDir(), "varve")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	MustRun(t, append([]string{"mount", image, dir}, args...)...)
	done := false
	unmount = func() {
		if !done {
			done = true
			MustRun(t, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// DaemonsOf lists the processes that serve a directory.
func DaemonsOf(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range lines {
		p, err := os.ReadFile(f)
		if err == nil && !bytes.HasPrefix(p, []byte("fusermount3\x00")) && bytes.Contains(p, []byte("mount\x00")) &&
			bytes.Contains(p, []byte(dir+"\x00")) {
			out = append(out, filepath.Dir(f))
		}
	}
	return out
}

// Image makes an empty image of a size such as 16M.
func Image(t testing.TB, size string, mkfs ...string) string {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	oracle.MustRun(t, "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4"}, mkfs...), path, size)...)
	return path
}
