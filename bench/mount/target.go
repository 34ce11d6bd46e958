package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvefs/varve/bench/fronts"
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

// loopback is go-fuse's loopback, without passthrough, over the kernel's mount.
type loopback struct {
	below string
	stop  *func() error
}

func (loopback) String() string { return "loopback" }

func (l loopback) mount(image, dir string) error {
	if err := (kernel{}).mount(image, l.below); err != nil {
		return err
	}
	stop, err := fronts.Start("loopback", l.below, dir)
	*l.stop = stop
	return err
}

func (l loopback) unmount(string) error { return errors.Join((*l.stop)(), (kernel{}).unmount(l.below)) }
func (loopback) warm() error            { return nil }

// daemon is a FUSE program.
type daemon struct{ name, program string }

func (d daemon) String() string { return d.name }

func (d daemon) mount(image, dir string) error {
	if d.name == "fuse2fs" {
		return command(d.program, image, dir, "-o", "ro")
	}
	switch d.name {
	case "varve rw":
		return command(d.program, "mount", "--quiet", "--rw", image, dir)
	case "varve rw, no_open":
		return command(d.program, "mount", "--quiet", "-o", "rw,no_open", image, dir)
	}
	return command(d.program, "mount", "--quiet", image, dir)
}

func (d daemon) unmount(dir string) error {
	if strings.HasPrefix(d.name, "varve") {
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
