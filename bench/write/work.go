package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/varvefs/varve/bench/process"
)

// work is one row of the table. Greater figures are better.
type work struct {
	name, unit, goal string
	targets          []string
	run              func(b *bench, target string) (float64, error)
}

var (
	storing = []string{"kernel", "varve"}
	slow    = []string{"kernel", "varve", "fuse2fs"}
	all     = []string{"kernel", "varve", "null", "loopback", "fuse2fs"}
)

var works = []work{
	{"4 KiB random write with fsync, 1 job", "IOPS", "0.8 of the kernel", slow,
		fio("randwrite", 1, "--bs=4k", "--fsync=1", "--size=64m")},
	{"4 KiB random write with fsync, 16 jobs", "IOPS", "1.3 of the kernel", storing,
		fio("randwrite", 16, "--bs=4k", "--fsync=1", "--size=8m")},
	{"4 KiB random write with fsync, 64 jobs", "IOPS", "1.5 of the kernel", storing,
		fio("randwrite", 64, "--bs=4k", "--fsync=1", "--size=4m")},
	{"4 KiB random overwrite with fsync, 1 job", "IOPS", "", storing,
		fio("randwrite", 1, "--bs=4k", "--fsync=1", "--size=64m", "--overwrite=1")},
	{"4 KiB random overwrite with fsync, 16 jobs", "IOPS", "", storing,
		fio("randwrite", 16, "--bs=4k", "--fsync=1", "--size=4m", "--overwrite=1")},
	{"4 KiB random direct writes, 16 threads, one file", "IOPS", "0.7 of null, 0.9 of the kernel",
		[]string{"kernel", "varve", "null"},
		fio("randwrite", 16, "--bs=4k", "--direct=1", "--size=64m", "--filename=one", "--thread")},
	{"sequential write, 1 MiB, final fsync", "MB/s", "0.8 of the kernel, 8 times fuse2fs", slow, sequential},
	{"untar of 20,000 files, and sync", "files/s", "0.6 of null, 2.5 times loopback, 15 times fuse2fs", all, untar},
	{"create and unlink, 1 thread", "pairs/s", "", []string{"kernel", "varve", "null"}, threads(1, true, createUnlink)},
	{"create and unlink, 8 threads, one directory", "pairs/s", "0.6 of null, 5 times fuse2fs", all,
		threads(8, false, createUnlink)},
	{"create and unlink, 8 threads, own directories", "pairs/s", "0.6 of null, 5 times fuse2fs", all,
		threads(8, true, createUnlink)},
	{"rename, 8 threads, one directory", "ops/s", "0.6 of null, 5 times fuse2fs", all, threads(8, false, rename)},
	{"rename, 8 threads, own directories", "ops/s", "0.6 of null, 5 times fuse2fs", all, threads(8, true, rename)},
}

// fio runs fio for three seconds, and returns its IOPS.
func fio(rw string, jobs int, args ...string) func(*bench, string) (float64, error) {
	return func(b *bench, _ string) (float64, error) {
		args := append([]string{"--name=w", "--directory=" + b.dir, "--rw=" + rw, "--ioengine=psync", "--time_based",
			"--runtime=3", "--group_reporting", "--output-format=json",
			fmt.Sprint("--numjobs=", jobs)}, args...)
		out, err := exec.Command("fio", args...).Output()
		if err != nil {
			return 0, fmt.Errorf("fio: %w: %s", err, out)
		}
		return process.IOPS(out, "write")
	}
}

func sequential(b *bench, _ string) (float64, error) {
	const size = 512
	f, err := os.Create(filepath.Join(b.dir, "large"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p := make([]byte, 1<<20)
	start := time.Now()
	for range size {
		if _, err := f.Write(p); err != nil {
			return 0, err
		}
	}
	err = f.Sync()
	return size * 1.048576 / time.Since(start).Seconds(), err
}

// untar unpacks 20,000 small files in 200 directories, and makes them durable.
func untar(b *bench, target string) (float64, error) {
	archive := filepath.Join(b.folder, "tree.tar")
	if _, err := os.Stat(archive); err != nil {
		if err := makeTar(b, archive); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	if err := process.Run("tar", "xf", archive, "-C", b.dir, "--no-same-owner"); err != nil {
		return 0, err
	}
	var err error
	switch target {
	case "varve":
		err = process.Run(b.varve, "sync", b.dir)
	case "kernel", "loopback":
		err = process.Run("sync", "-f", b.dir)
	}
	return 20000 / time.Since(start).Seconds(), err
}

func makeTar(b *bench, archive string) error {
	tree := filepath.Join(b.folder, "tree")
	for d := range 200 {
		dir := filepath.Join(tree, fmt.Sprint("d", d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for f := range 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", f)), make([]byte, 200+37*f), 0o644); err != nil {
				return err
			}
		}
	}
	return errors.Join(process.Run("tar", "cf", archive, "-C", tree, "."), os.RemoveAll(tree))
}

// threads runs a step for two seconds in so many threads, each in a directory of its own or all in one.
func threads(n int, own bool, step func(dir string, thread, i int) error) func(*bench, string) (float64, error) {
	return func(b *bench, _ string) (float64, error) {
		counts, errs := make([]int, n), make([]error, n)
		for i := range n {
			if err := os.MkdirAll(threadDir(b.dir, i, own), 0o755); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				for time.Since(start) < 2*time.Second && errs[i] == nil {
					errs[i] = step(threadDir(b.dir, i, own), i, counts[i])
					counts[i]++
				}
			})
		}
		wg.Wait()
		took, total := time.Since(start).Seconds(), 0
		for _, c := range counts {
			total += c
		}
		return float64(total) / took, errors.Join(errs...)
	}
}

func threadDir(dir string, i int, own bool) string {
	if own {
		return filepath.Join(dir, fmt.Sprint("own", i))
	}
	return filepath.Join(dir, "shared")
}

func createUnlink(dir string, thread, i int) error {
	p := fmt.Sprintf("%s/t%d-%d", dir, thread, i)
	f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(p))
}

func rename(dir string, thread, i int) error {
	names := [2]string{fmt.Sprintf("%s/t%d-a", dir, thread), fmt.Sprintf("%s/t%d-b", dir, thread)}
	if i == 0 {
		if err := os.WriteFile(names[0], nil, 0o644); err != nil {
			return err
		}
	}
	return os.Rename(names[i%2], names[(i+1)%2])
}
