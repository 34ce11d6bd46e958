package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/bench/process"
)

// work is one row of the table.
type work struct {
	name, unit, goal string
	lowerIsBetter    bool
	mounting         bool // the figure is that of mounting itself
	xattrs           bool // on the image with an extended attribute
	prepare          func(*bench) error
	run              func(*bench) (figure float64, late bool, err error)
}

// limit cuts off what takes too long to wait for.
const limit = 90 * time.Second

const readAll = `for f in 0 1 2; do dd if="$1/big/$f" of=/dev/null bs=1M status=none; done`

var works = []work{
	{name: "find, cold", unit: "s", goal: "at most 2 times the kernel's time; 40 times fuse2fs", lowerIsBetter: true,
		prepare: dropCaches, run: shell(`find "$1"`)},
	{name: "find, warm", unit: "s", goal: "0.9 of the kernel", lowerIsBetter: true, prepare: before(`find "$1"`),
		run: shell(`find "$1"`)},
	{name: "ls -l of 50,000, cold", unit: "s", goal: "at most the kernel's time; 90 times fuse2fs", lowerIsBetter: true,
		prepare: dropCaches, run: shell(`ls -l "$1/wide"`)},
	{name: "ls -l of 50,000, warm", unit: "s", goal: "0.9 of the kernel", lowerIsBetter: true,
		prepare: before(`ls -l "$1/wide"`), run: shell(`ls -l "$1/wide"`)},
	{name: "ls -l of 50,000, cold, attributes in the image", unit: "s", xattrs: true, lowerIsBetter: true,
		prepare: dropCaches, run: shell(`ls -l "$1/wide"`)},
	{name: "ls -l of 50,000, warm, attributes in the image", unit: "s", xattrs: true, lowerIsBetter: true,
		prepare: before(`ls -l "$1/wide"`), run: shell(`ls -l "$1/wide"`)},
	{name: "tar, cold", unit: "s", goal: "at most 1.5 times the kernel's time; 5 times fuse2fs", lowerIsBetter: true,
		prepare: dropCaches, run: shell(`tar cf - -C "$1" tree | cat`)},
	{name: "tar, warm", unit: "s", goal: "0.9 of the kernel", lowerIsBetter: true,
		prepare: before(`tar cf - -C "$1" tree | cat`), run: shell(`tar cf - -C "$1" tree | cat`)},
	{name: "lstat, 8 threads, warm", unit: "ops/s", goal: "0.9 of the kernel", prepare: before(`ls -lR "$1/tree"`),
		run: storm(8, lstat)},
	{name: "open, read, close, 8 threads, first time", unit: "ops/s", goal: "the kernel; 20 times fuse2fs",
		prepare: imageCached, run: storm(8, readFile)},
	{name: "open, read, close, 1 thread, first time", unit: "ops/s", prepare: imageCached, run: storm(1, readFile)},
	{name: "sequential 1 MiB reads, cold", unit: "MB/s", goal: "the kernel and fuse2fs", prepare: dropCaches,
		run: rate(3<<28, readAll)},
	{name: "sequential 1 MiB reads, image cached", unit: "MB/s", goal: "0.7 of the kernel; 1.5 times fuse2fs",
		prepare: imageCached, run: rate(3<<28, readAll)},
	{name: "sequential 1 MiB reads, hot", unit: "MB/s", goal: "0.9 of the kernel", prepare: before(readAll),
		run: rate(3<<28, readAll)},
	{name: "a file in 13,000 extents, image cached", unit: "MB/s", prepare: imageCached,
		run: rate(13000*8192, `dd if="$1/big/fragmented" of=/dev/null bs=1M status=none`)},
	{name: "random 4 KiB reads, image cached, 1 job", unit: "IOPS", goal: "0.8 of the kernel", prepare: imageCached,
		run: fio(1)},
	{name: "random 4 KiB reads, image cached, 8 jobs", unit: "IOPS", goal: "0.7 of the kernel", prepare: imageCached,
		run: fio(8)},
	{name: "command to first answer, cold", unit: "ms", goal: "15 ms (beside fuse2fs)", lowerIsBetter: true,
		mounting: true},
	{name: "memory after a walk of 100,000 files, mapped image aside", unit: "MiB", goal: "64 MiB", lowerIsBetter: true,
		prepare: dropCaches, run: memory},
	{name: "processor time of a cold walk of 100,000 files", unit: "s", lowerIsBetter: true, prepare: dropCaches,
		run: processor},
}

// dropCaches empties the caches of the kernel, those of mounts among them.
func dropCaches(*bench) error {
	if err := process.Run("sync"); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// imageCached has the image in the page cache, and nothing of the mount.
func imageCached(b *bench) error {
	return process.Run("sh", "-c", `cat "$1" > /dev/null`, "sh", b.image)
}

// before runs a command once, so that the measured run finds warm caches. A slow target is not waited for.
func before(script string) func(*bench) error {
	return func(b *bench) error {
		_, _, err := shell(script)(b)
		return err
	}
}

// shell measures the seconds that a command takes, with its output thrown away.
func shell(script string) func(*bench) (float64, bool, error) {
	return func(b *bench) (float64, bool, error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", "{ "+script+"; } > /dev/null", "sh", b.dir)
		cmd.WaitDelay = 10 * time.Second
		start := time.Now()
		err := cmd.Run()
		took := time.Since(start).Seconds()
		if ctx.Err() != nil {
			time.Sleep(time.Second) // let what it started end, so that the mount is not busy
			_ = process.Run("sh", "-c", `fuser -k -M -m "$1" >/dev/null 2>&1; sleep 1`, "sh", b.dir)
			return took, true, nil
		}
		return took, false, err
	}
}

// rate measures the MB/s at which a command reads a number of bytes.
func rate(bytes float64, script string) func(*bench) (float64, bool, error) {
	return func(b *bench) (float64, bool, error) {
		took, late, err := shell(script)(b)
		return bytes / 1e6 / took, late, err
	}
}

// storm measures the operations a second on the small files, by a number of threads that share them out.
func storm(threads int, op func(string) error) func(*bench) (float64, bool, error) {
	return func(b *bench) (float64, bool, error) {
		paths, err := smallFiles(b.dir)
		if err != nil {
			return 0, false, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		var next, done atomic.Int64
		errs := make([]error, threads)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range threads {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil && errs[i] == nil {
					n := int(next.Add(1)) - 1
					if n >= len(paths) {
						return
					}
					errs[i] = op(paths[n])
					done.Add(1)
				}
			}()
		}
		wg.Wait()
		return float64(done.Load()) / time.Since(start).Seconds(), false, errors.Join(errs...)
	}
}

// smallFiles lists the 50,000 files by their names, which are known, so that listing asks nothing of the mount.
func smallFiles(dir string) ([]string, error) {
	var out []string
	for d := range 2000 {
		for i := range 25 {
			out = append(out, fmt.Sprintf("%s/tree/%d/%d/file%d", dir, d/50, d, i))
		}
	}
	_, err := os.Lstat(out[len(out)-1])
	return out, err
}

func lstat(path string) error {
	_, err := os.Lstat(path)
	return err
}

func readFile(path string) error {
	_, err := os.ReadFile(path)
	return err
}

// fio measures random reads of 4 KiB by a number of jobs.
func fio(jobs int) func(*bench) (float64, bool, error) {
	return func(b *bench) (float64, bool, error) {
		out, err := exec.Command("fio", "--name=r", "--filename="+filepath.Join(b.dir, "big", "1"), "--readonly",
			"--rw=randread", "--bs=4k", "--ioengine=psync", fmt.Sprint("--numjobs=", jobs), "--size=256M",
			fmt.Sprintf("--io_size=%dM", 160/jobs),
			"--group_reporting", "--output-format=json", "--fadvise_hint=random", "--randseed=7").Output()
		if err != nil {
			return 0, false, fmt.Errorf("fio: %w", err)
		}
		rate, err := process.IOPS(out, "read")
		return rate, false, err
	}
}

// walk visits every name with its attributes, in a process of its own.
func walk(b *bench) (bool, error) {
	_, late, err := shell(`ls -lR "$1"`)(b)
	return late, err
}

// memory measures the resident memory of the daemon, without what it maps of files.
func memory(b *bench) (float64, bool, error) {
	late, err := walk(b)
	if err != nil {
		return 0, late, err
	}
	return process.Resident(programs(b)...), late, nil
}

// processor measures the processor seconds of the daemon.
func processor(b *bench) (float64, bool, error) {
	late, err := walk(b)
	if err != nil {
		return 0, late, err
	}
	ticks := 0.0
	for _, pid := range process.Of(programs(b)...) {
		stat, err := os.ReadFile(filepath.Join(pid, "stat"))
		if err != nil {
			return 0, false, err
		}
		// Behind the name in parentheses: state, ten fields, user and system time in hundredths of a second.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, i := range []int{11, 12} {
			n, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return 0, false, err
			}
			ticks += n
		}
	}
	return ticks / 100, late, nil
}

// programs are those that serve the mounts.
func programs(b *bench) []string {
	var out []string
	for _, t := range b.targets {
		if d, ok := t.(daemon); ok {
			out = append(out, d.program)
		}
	}
	return out
}
