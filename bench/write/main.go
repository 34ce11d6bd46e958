// Command write compares read-write mounts of varve with the kernel's ext4 on a loop device, fuse2fs, go-fuse's
// loopback without passthrough, and a daemon that stores nothing, in one run, and prints the table of
// docs/bench-write.md. It needs root.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varvefs/varve/bench/fronts"
	"github.com/varvefs/varve/bench/process"
)

func main() {
	if fronts.Main() {
		return
	}
	varve := flag.String("varve", "bin/varve", "the varve `program`")
	rounds := flag.Int("rounds", 3, "rounds; fuse2fs gets one")
	only := flag.String("only", "", "run the rows whose names contain this")
	flag.Parse()
	if err := run(*varve, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench/write:", err)
		os.Exit(1)
	}
}

// target is a way to mount a fresh file system at dir. It returns what unmounts it.
type target struct {
	name  string
	mount func(b *bench, image string) (unmount func() error, err error)
}

type bench struct {
	varve, folder, dir string
	rounds             int
}

var targets = []target{
	{"kernel", func(b *bench, image string) (func() error, error) {
		return func() error { return process.Run("umount", b.dir) }, process.Run("mount", "-o", "loop", image, b.dir)
	}},
	{"varve", func(b *bench, image string) (func() error, error) {
		return func() error { return process.Run(b.varve, "umount", b.dir) },
			process.Run(b.varve, "mount", "-q", "--rw", image, b.dir)
	}},
	{"null", func(b *bench, _ string) (func() error, error) { return fronts.Start("null", "/", b.dir) }},
	{"loopback", func(b *bench, _ string) (func() error, error) {
		below := filepath.Join(b.folder, "below")
		_ = os.RemoveAll(below)
		if err := os.Mkdir(below, 0o755); err != nil {
			return nil, err
		}
		return fronts.Start("loopback", below, b.dir)
	}},
	{"fuse2fs", func(b *bench, image string) (func() error, error) {
		return func() error {
			return errors.Join(process.Run("umount", b.dir), process.Ended("fuse2fs"))
		}, process.Run("fuse2fs", image, b.dir, "-o", "rw,fakeroot")
	}},
}

func run(varve string, rounds int, only string) error {
	varve, err := filepath.Abs(varve)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "varve-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := &bench{varve: varve, folder: folder, dir: filepath.Join(folder, "mnt"), rounds: rounds}
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return err
	}
	fmt.Println("| work | unit | kernel | varve | null daemon | loopback | fuse2fs " +
		"| varve, of the kernel | of null | of loopback | of fuse2fs | goal |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, w := range works {
		if !strings.Contains(w.name, only) {
			continue
		}
		if err := b.row(w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if only == "" || only == "arbitration" {
		if err := arbitration(b); err != nil {
			return err
		}
	}
	if only == "" || only == "memory" {
		return memory(b)
	}
	return nil
}

// row measures one row on all of its targets in turn, round by round, and prints it.
func (b *bench) row(w work) error {
	figures := map[string][]float64{}
	for round := range b.rounds {
		for _, t := range targets {
			if !slices.Contains(w.targets, t.name) || t.name == "fuse2fs" && round > 0 {
				continue
			}
			f, err := b.once(w, t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			figures[t.name] = append(figures[t.name], f)
		}
	}
	median := func(name string) float64 {
		s := slices.Sorted(slices.Values(figures[name]))
		if len(s) == 0 {
			return 0
		}
		return s[len(s)/2]
	}
	fmt.Printf("| %s | %s |", w.name, w.unit)
	for _, t := range targets {
		cell := "-"
		if m := median(t.name); m > 0 {
			cell = fmt.Sprintf("%.4g", m)
		}
		fmt.Printf(" %s |", cell)
	}
	for _, t := range targets {
		if t.name == "varve" {
			continue
		}
		cell := "-"
		if m := median(t.name); m > 0 {
			cell = fmt.Sprintf("%.2f", median("varve")/m)
		}
		fmt.Printf(" %s |", cell)
	}
	fmt.Printf(" %s |\n", w.goal)
	return nil
}

// once makes an image, mounts it, measures, and unmounts.
func (b *bench) once(w work, t target) (figure float64, err error) {
	image := filepath.Join(b.folder, "image")
	_ = os.Remove(image)
	if err := process.Run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", image,
		"2G"); err != nil {
		return 0, err
	}
	if err := process.Run("sync"); err != nil {
		return 0, err
	}
	unmount, err := t.mount(b, image)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return w.run(b, t.name)
}
