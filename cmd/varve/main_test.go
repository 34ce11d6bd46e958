package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// varve runs the program.
func varve(t testing.TB, args ...string) program.Result {
	t.Helper()
	return program.Run(t, args...)
}

// must runs the program, and fails the test unless the exit code is 0.
func must(t testing.TB, args ...string) program.Result {
	t.Helper()
	return program.MustRun(t, args...)
}

// mountImage mounts an image with the program until the test ends, or until the returned function is called.
func mountImage(t testing.TB, image string, args ...string) (dir string, unmount func()) {
	t.Helper()
	return program.Mount(t, image, args...)
}

// command runs a command line in this process, as main does. It is for commands that start no daemon.
func command(t testing.TB, args ...string) program.Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	errs := output.NewGuard(&stderr)
	code := run(append([]string{"varve"}, args...), output.NewGuard(&stdout), errs)
	_ = errs.Flush()
	return program.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}

// commandCase is a command line and its outcome.
type commandCase struct {
	args           []string
	code           int
	stdout, stderr string // each is part of the output
}

// checkCommands runs command lines in this process. One that fails prints nothing on standard output.
func checkCommands(t *testing.T, cases []commandCase) {
	t.Helper()
	for _, c := range cases {
		r := command(t, c.args...)
		if r.Code != c.code || !strings.Contains(r.Stdout, c.stdout) || !strings.Contains(r.Stderr, c.stderr) {
			t.Errorf("varve %s: %+v\nexpected %d, %q, %q", strings.Join(c.args, " "), r, c.code, c.stdout, c.stderr)
		}
		if c.code != exitOK && c.stdout == "" && r.Stdout != "" {
			t.Errorf("varve %s fails, but prints %q on standard output", strings.Join(c.args, " "), r.Stdout)
		}
	}
}

// parseJSON runs a command line in this process and reads the document that it prints.
func parseJSON(t testing.TB, doc any, args ...string) program.Result {
	t.Helper()
	r := command(t, args...)
	if err := json.Unmarshal([]byte(r.Stdout), doc); err != nil {
		t.Fatalf("varve %s: %v: %+v", strings.Join(args, " "), err, r)
	}
	return r
}

// rwImage makes an image to be written.
func rwImage(t testing.TB, size string, mkfs ...string) string {
	t.Helper()
	return program.Image(t, size, mkfs...)
}

// fatal ends the test on an error.
func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
