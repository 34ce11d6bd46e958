// Command mount compares a varve mount with the kernel's ext4 on a loop device and with Debian's fuse2fs, over one
// image and in one run, and prints the table of docs/bench-mount.md. It needs root.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvefs/varve/bench/fronts"
)

func main() {
	varve := flag.String("varve", "bin/varve", "the varve `program`")
	rounds := flag.Int("rounds", 5, "rounds for varve and the kernel; fuse2fs gets one, in the rows whose goals name it")
	image := flag.String("image", "", "keep the image in this `file`, and use it if it is there")
	skip := flag.Bool("no-fuse2fs", false, "leave fuse2fs out")
	only := flag.String("only", "", "run the rows whose names contain this")
	rw := flag.Bool("rw", false,
		"compare an idle read-write mount with the read-only one and go-fuse's loopback, instead")
	if fronts.Main() {
		return
	}
	flag.Parse()
	if err := run(*varve, *image, *rounds, !*skip, *only, *rw); err != nil {
		fmt.Fprintln(os.Stderr, "bench/mount:", err)
		os.Exit(1)
	}
}

func run(varve, image string, rounds int, fuse2fs bool, only string, rw bool) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root, to mount with the kernel's ext4 and to drop caches")
	}
	varve, err := filepath.Abs(varve)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "varve-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if image == "" {
		image = filepath.Join(dir, "image")
	}
	if err := makeImage(image, filepath.Join(dir, "fill")); err != nil {
		return err
	}
	b := &bench{image: image, dir: filepath.Join(dir, "mnt"), rounds: rounds, results: map[string]map[string]*result{}}
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return err
	}
	b.targets = []target{kernel{}, daemon{name: "varve", program: varve}}
	switch {
	case rw:
		below := filepath.Join(dir, "below")
		if err := os.Mkdir(below, 0o755); err != nil {
			return err
		}
		b.targets = []target{daemon{name: "varve", program: varve}, daemon{name: "varve rw", program: varve},
			daemon{name: "varve rw, no_open", program: varve}, loopback{below, new(func() error)}}
	case fuse2fs:
		b.targets = append(b.targets, daemon{name: "fuse2fs", program: "fuse2fs"})
	}
	for _, w := range works {
		if !strings.Contains(w.name, only) {
			continue
		}
		if err := b.measure(w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		b.printRow(w)
	}
	return nil
}

// bench is one run.
type bench struct {
	image, dir string
	rounds     int
	targets    []target
	results    map[string]map[string]*result // by row and target
	header     bool
}

// result collects the figures of one row and target.
type result struct {
	figures []float64
	late    bool // a run was cut off
}

func (r *result) median() float64 {
	s := slices.Sorted(slices.Values(r.figures))
	return s[len(s)/2]
}

// measure runs a row on all targets in turn, round by round.
func (b *bench) measure(w work) error {
	b.results[w.name] = map[string]*result{}
	for round := range b.rounds {
		for _, t := range b.targets {
			if t.String() == "fuse2fs" && (round > 0 || !strings.Contains(w.goal, "fuse2fs")) {
				continue // too slow to wait for where no goal is about it
			}
			r := b.results[w.name][t.String()]
			if r == nil {
				r = &result{}
				b.results[w.name][t.String()] = r
			}
			if err := b.once(w, t, r); err != nil {
				return fmt.Errorf("%v: %w", t, err)
			}
		}
	}
	return nil
}

// once mounts, prepares, measures, and unmounts.
func (b *bench) once(w work, t target, r *result) (err error) {
	image := b.image
	if w.xattrs {
		if image, err = b.withXattr(); err != nil {
			return err
		}
	}
	if w.mounting {
		figure, err := b.mountTime(t)
		r.figures = append(r.figures, figure)
		return err
	}
	if err := t.mount(image, b.dir); err != nil {
		return err
	}
	defer func() {
		if e := t.unmount(b.dir); err == nil {
			err = e
		}
	}()
	if w.prepare != nil {
		if err := w.prepare(b); err != nil {
			return err
		}
	}
	figure, late, err := w.run(b)
	r.figures = append(r.figures, figure)
	r.late = r.late || late
	return err
}

// mountTime is the time from the command to the first answer, with nothing but the program in the cache.
func (b *bench) mountTime(t target) (float64, error) {
	if err := dropCaches(b); err != nil {
		return 0, err
	}
	if err := t.warm(); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := t.mount(b.image, b.dir); err != nil {
		return 0, err
	}
	if _, err := os.ReadDir(b.dir); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return float64(took.Microseconds()) / 1000, t.unmount(b.dir)
}

// printRow prints the row with ratios: how many times as fast as the others the second target is. Those are the
// read-write mount, where that is measured, and else varve's only one.
func (b *bench) printRow(w work) {
	ours := b.targets[1].String()
	if !b.header {
		b.header = true
		fmt.Print("| work | unit |")
		for _, t := range b.targets {
			fmt.Printf(" %v |", t)
		}
		for _, t := range b.targets {
			if t.String() != ours {
				fmt.Printf(" %s is, of %v |", ours, t)
			}
		}
		fmt.Printf(" goal |\n|%s\n", strings.Repeat(" --- |", 2+2*len(b.targets)))
	}
	fmt.Printf("| %s | %s |", w.name, w.unit)
	for _, t := range b.targets {
		fmt.Printf(" %s |", b.results[w.name][t.String()])
	}
	for _, t := range b.targets {
		if t.String() != ours {
			fmt.Printf(" %s |", b.ratio(w, ours, t.String()))
		}
	}
	goal := w.goal
	if ours == "varve rw" {
		goal = "0.8 of read-only"
	}
	fmt.Printf(" %s |\n", goal)
}

func (r *result) String() string {
	switch {
	case r == nil:
		return "-"
	case r.late:
		return fmt.Sprintf("over %.4g", r.median())
	}
	return fmt.Sprintf("%.4g", r.median())
}

// ratio is how many times as fast as another target one is.
func (b *bench) ratio(w work, ours, other string) string {
	r, v := b.results[w.name][other], b.results[w.name][ours]
	if r == nil || v == nil || r.median() == 0 || v.median() == 0 {
		return "-"
	}
	x := v.median() / r.median()
	if w.lowerIsBetter {
		x = 1 / x
	}
	return fmt.Sprintf("%.2f times the speed", x)
}
