// Command cache records which metadata blocks real workloads ask a varve mount for, replays the traces through several
// caches of several sizes, and prints the table of docs/cache.md.
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/arc/v2"
	"github.com/maypok86/otter/v2"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

func main() {
	varve := flag.String("varve", "../../bin/varve", "the varve `program`")
	image := flag.String("image", "", "an `image` to work on, as bench/mount makes one with -image")
	flag.Parse()
	if err := run(*varve, *image); err != nil {
		fmt.Fprintln(os.Stderr, "cache:", err)
		os.Exit(1)
	}
}

// workloads are what is run on the mount. Between their steps the kernel's caches are dropped, so that blocks are asked
// for again.
var workloads = []struct{ name, script string }{
	{"find, then tar", `find "$1/tree" "$1/wide"; drop; tar cf - -C "$1" tree`},
	{"ls -lR three times", `for i in 1 2 3; do ls -lR "$1"; drop; done`},
	{"random opens, Zipf",
		`awk 'BEGIN { srand(7); for (i = 0; i < 40000; i++) { d = int(2000 ^ rand()) - 1
		print "'"$1"'/tree/" int(d/50) "/" d "/file" int(25 * rand()) } }' |
		while read f; do : < "$f"; n=$((n + 1)); [ $((n % 2000)) = 0 ] && drop; done; true`},
	{"random opens, Zipf, beside a walk",
		`(for i in 1 2 3 4; do ls -lR "$1"; done) &
		awk 'BEGIN { srand(9); for (i = 0; i < 40000; i++) { d = int(2000 ^ rand()) - 1
		print "'"$1"'/tree/" int(d/50) "/" d "/file" int(25 * rand()) } }' |
		while read f; do : < "$f"; n=$((n + 1)); [ $((n % 1000)) = 0 ] && drop; done; wait; true`},
}

const drop = `drop() { echo 3 > /proc/sys/vm/drop_caches; }; `

func run(varve, image string) error {
	if image == "" {
		return errors.New("name an image with -image (go run ./bench/mount -image FILE -only none makes one)")
	}
	dir, err := os.MkdirTemp("", "varve-cache-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("| workload | requests | blocks | cache, blocks | S3-FIFO | ARC | W-TinyLFU (otter) | best possible |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	times := map[string][]float64{}
	for _, w := range workloads {
		trace, err := record(varve, image, dir, w.script)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		distinct := len(slices.Compact(slices.Sorted(slices.Values(trace))))
		for _, size := range []int{128, 512, 1024, 4096} {
			fmt.Printf("| %s | %d | %d | %d |", w.name, len(trace), distinct, size)
			for _, c := range caches {
				start := time.Now()
				hits := c.replay(trace, size)
				times[c.name] = append(times[c.name], float64(time.Since(start).Nanoseconds())/float64(len(trace)))
				fmt.Printf(" %.1f %% |", 100*float64(hits)/float64(len(trace)))
			}
			fmt.Printf(" %.1f %% |\n", 100*float64(belady(trace, size))/float64(len(trace)))
		}
	}
	fmt.Println()
	for _, c := range caches {
		slices.Sort(times[c.name])
		fmt.Printf("%s: %.0f ns a request (median)\n", c.name, times[c.name][len(times[c.name])/2])
	}
	return nil
}

// record runs a workload on a mount of the image, and returns the blocks that were asked for.
func record(varve, image, dir, script string) ([]block.Number, error) {
	mnt, file := filepath.Join(dir, "mnt"), filepath.Join(dir, "trace")
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command(varve, "mount", image, mnt, "-o", "trace="+file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mount: %w: %s", err, out)
	}
	out, err := exec.Command("sh", "-c", "{ "+drop+script+"; } > /dev/null", "sh", mnt).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	if e := exec.Command(varve, "umount", mnt).Run(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	p, err := os.ReadFile(file)
	trace := make([]block.Number, len(p)/8)
	for i := range trace {
		trace[i] = block.Number(binary.LittleEndian.Uint64(p[8*i:]))
	}
	return trace, err
}

var caches = []struct {
	name   string
	replay func(trace []block.Number, size int) (hits int)
}{
	{"S3-FIFO", ours},
	{"ARC", func(trace []block.Number, size int) (hits int) {
		c, err := arc.NewARC[block.Number, struct{}](size)
		if err != nil {
			panic(err)
		}
		for _, n := range trace {
			if _, ok := c.Get(n); ok {
				hits++
			} else {
				c.Add(n, struct{}{})
			}
		}
		return hits
	}},
	{"W-TinyLFU", func(trace []block.Number, size int) (hits int) {
		c := otter.Must(&otter.Options[block.Number, struct{}]{MaximumSize: size, InitialCapacity: size})
		for i, n := range trace {
			if _, ok := c.GetIfPresent(n); ok {
				hits++
			} else {
				c.Set(n, struct{}{})
			}
			if i%64 == 0 {
				c.CleanUp() // its evictions are asynchronous: without this it would hold more than its size
			}
		}
		return hits
	}},
}

// nothing is a device whose blocks cost nothing to read.
type nothing struct{}

func (nothing) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

var _ io.ReaderAt = nothing{}

func ours(trace []block.Number, size int) int {
	const blockSize = 1024
	c := blockcache.NewCache(nothing{}, nil, blockSize, int64(size)*blockSize)
	for _, n := range trace {
		if _, err := c.ReadBlock(n); err != nil {
			panic(err)
		}
	}
	return int(c.Stats().Hits)
}

// belady counts the hits of the cache that knows the future (Belady, 1966): what no policy can beat.
func belady(trace []block.Number, size int) (hits int) {
	next := make([]int, len(trace)) // when the same block is asked for again
	last := map[block.Number]int{}
	for i := len(trace) - 1; i >= 0; i-- {
		next[i] = len(trace) + 1
		if j, ok := last[trace[i]]; ok {
			next[i] = j
		}
		last[trace[i]] = i
	}
	held := map[block.Number]int{} // until when
	queue := &farthest{}
	for i, n := range trace {
		if _, ok := held[n]; ok {
			hits++
		} else if len(held) >= size {
			for {
				v := queue.pop()
				if at, ok := held[v.n]; ok && at == v.at {
					delete(held, v.n)
					break
				}
			}
		}
		held[n] = next[i]
		queue.push(use{n, next[i]})
	}
	return hits
}
