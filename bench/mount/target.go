package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/varvefs/varve/bench/fronts"
	"github.com/varvefs/varve/bench/process"
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
	return process.Run("mount", "-o", "loop,ro", image, dir)
}
func (kernel) unmount(dir string) error { return process.Run("umount", dir) }
func (kernel) warm() error              { return process.Run("mount", "--version") }

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
		return process.Run(d.program, image, dir, "-o", "ro")
	}
	switch d.name {
	case "varve rw":
		return process.Run(d.program, "mount", "--quiet", "--rw", image, dir)
	case "varve rw, no_open":
		return process.Run(d.program, "mount", "--quiet", "-o", "rw,no_open", image, dir)
	}
	return process.Run(d.program, "mount", "--quiet", image, dir)
}

func (d daemon) unmount(dir string) error {
	if strings.HasPrefix(d.name, "varve") {
		return process.Run(d.program, "umount", dir)
	}
	if err := process.Run("umount", dir); err != nil {
		return err
	}
	return process.Ended(d.program)
}

func (d daemon) warm() error {
	path, err := exec.LookPath(d.program)
	if err == nil {
		_, err = os.ReadFile(path)
	}
	if err == nil {
		_ = process.Run(d.program, "--version") // its libraries, too
	}
	return err
}
