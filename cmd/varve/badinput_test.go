package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_SilentInput: one signal ends a command that waits for a pipe which nobody writes to, and leaves a clean
// image.
func TestCLI_SilentInput(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	image, dir := rwImage(t, "16M"), t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	fatal(t, unix.Mkfifo(pipe, 0o600))
	silent, held, err := os.Pipe() // standard input: held open, and never written to
	fatal(t, err)
	defer silent.Close()
	defer held.Close()
	var running []*exec.Cmd
	for _, args := range [][]string{
		{"evidence", pipe}, {"pack", "--size", "8M", filepath.Join(dir, "out"), pipe}, {"import", image, pipe},
		{"pack", "--size", "8M", filepath.Join(dir, "out"), "-"}, {"import", rwImage(t, "16M"), "-"},
		{"put", rwImage(t, "16M"), "-", "/x"},
	} {
		cmd := exec.Command(program.Path(t), args...)
		cmd.Stdin = silent
		fatal(t, cmd.Start())
		running = append(running, cmd)
	}
	time.Sleep(300 * time.Millisecond)
	for _, cmd := range running {
		fatal(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, cmd := range running {
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		// a process that was too slow to ask for the signal is ended by it
		s := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if s.ExitStatus() != exitInterrupted && s.Signal() != syscall.SIGTERM {
			t.Errorf("%s: %s", cmd.Args[1:], cmd.ProcessState)
		}
	}
	oracle.Clean(t, image)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v beside the pipe, %v", left, err)
	}
}

// TestCLI_NoOverlay: an empty file is no overlay to diff, commit and discard, and stays empty.
func TestCLI_NoOverlay(t *testing.T) {
	oracle.Need(t, "mkfs.ext4")
	image := rwImage(t, "16M")
	empty := filepath.Join(t.TempDir(), "empty")
	fatal(t, os.WriteFile(empty, nil, 0o600))
	for _, args := range [][]string{{"diff", image, empty}, {"commit", image, empty}, {"discard", empty}} {
		if r := varve(t, args...); r.Code != exitSystem || !strings.Contains(r.Stderr, "is no overlay") {
			t.Errorf("%s: %+v", args, r)
		}
		if info, err := os.Stat(empty); err != nil || info.Size() != 0 {
			t.Fatalf("%s changed the file: %v, %v", args, info, err)
		}
	}
}

// TestCLI_PackOver: an image takes the place of a file alone, not of a device or a link, and a pipe is read once.
func TestCLI_PackOver(t *testing.T) {
	oracle.Need(t, "mkfs.ext4")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	fatal(t, os.Mkdir(at("source"), 0o755))
	fatal(t, unix.Mkfifo(at("pipe"), 0o600))
	fatal(t, os.Symlink("pipe", at("link")))
	for _, args := range [][]string{
		{at("pipe"), at("source")}, {at("link"), at("source")}, {at("source"), at("source")}, {at("new"), at("pipe")},
	} {
		if r := varve(t, append([]string{"pack", "--force"}, args...)...); r.Code != exitSystem {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if info, err := os.Lstat(at("pipe")); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe was replaced: %v, %v", info, err)
	}
	if _, err := os.Lstat(at("new")); err == nil {
		t.Error("an image was made of a pipe twice")
	}
}

// TestCLI_WrongLine: a command line that contradicts itself, and a shell that is unknown, are errors of usage.
func TestCLI_WrongLine(t *testing.T) {
	oracle.Need(t, "mkfs.ext4")
	image := rwImage(t, "16M")
	for _, args := range [][]string{
		{"ls", image, "--part", "1", "--offset", "512"}, {"completion", "nosuch"}, {"completion"},
		{"pack", filepath.Join(t.TempDir(), "out"), t.TempDir(), "--label", "seventeen letters"},
	} {
		if r := command(t, args...); r.Code != exitUsage {
			t.Errorf("%s: %+v", args, r)
		}
	}
	pages := filepath.Join(t.TempDir(), "new", "pages")
	if r := command(t, "man", pages); r.Code != exitOK {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(pages, "varve.8")); err != nil {
		t.Error(err)
	}
}
