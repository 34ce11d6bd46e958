package main

import (
	"testing"

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
