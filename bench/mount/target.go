package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// target is a way to mount the image.
type target interface {
	fmt.Stringer
	mount(image, dir string) error
	unmount(dir string) error
	warm() error // reads the program into the cache
}

type kernel struct{}

func (kernel) String() string { return "kernel" }
func (kernel) mount(image, dir string) error {
	return command("mount", "-o", "loop,ro", image, dir)
}
func (kernel) unmount(dir string) error { return command("umount", dir) }
func (kernel) warm() error              { return command("mount", "--version") }

// daemon is a FUSE program.
type daemon struct{ name, program string }

func (d daemon) String() string { return d.name }

func (d daemon) mount(image, dir string) error {
	if d.name == "fuse2fs" {
		return command(d.program, image, dir, "-o", "ro")
	}
	return command(d.program, "mount", "--quiet", image, dir)
}

func (d daemon) unmount(dir string) error {
	if d.name == "varve" {
		return command(d.program, "umount", dir)
	}
	if err := command("umount", dir); err != nil {
		return err
	}
	for range 3000 { // umount returns before the daemon has ended
		if len(pids(d.program)) == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not end", d.name)
}

func (d daemon) warm() error {
	path, err := exec.LookPath(d.program)
	if err == nil {
		_, err = os.ReadFile(path)
	}
	if err == nil {
		_ = command(d.program, "--version") // its libraries, too
	}
	return err
}

// pids lists the processes that run a program.
func pids(program string) []string {
	want, err := exec.LookPath(program)
	if err != nil {
		return nil
	}
	want, _ = filepath.EvalSymlinks(want)
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var out []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.TrimSuffix(to, " (deleted)") == want {
			out = append(out, filepath.Dir(l))
		}
	}
	return out
}
