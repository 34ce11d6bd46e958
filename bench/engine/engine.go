// Package engine measures transactional stores beside each other: the same workloads, the same clock, in interleaved
// rounds.
//
// One transaction reads and changes 32 bytes of a 4 KiB block. Behind Engine stand varve and, in bench/peers, a module
// of its own, other stores; so that no peer is a dependency of varve.
package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The geometry of all workloads.
const (
	BlockSize = 4096
	Slot      = 32 // bytes that a transaction changes
	Slots     = BlockSize / Slot
	Blocks    = 1024
)

// Engine is a store under test. Update and View are called concurrently.
type Engine interface {
	// Update reads the slot of a block, changes it, and commits; durably if the engine was opened so. It returns how often
	// it had to begin again. change is called with the slot's bytes.
	Update(writer int, block, slot int, change func(slot []byte)) (aborts int, err error)
	// View reads the first bytes of all blocks in one snapshot.
	View() error
	// Close ends the engine. The bytes that it wrote for its log, as far as they are known, are returned.
	Close() (logBytes int64, err error)
}

// Maker opens an engine in an empty folder.
type Maker struct {
	Name string
	Form string // how a block is stored: block, or slot
	Open func(dir string, durable bool) (Engine, error)
	Skip func(Load) bool // loads that it cannot run
}

// Load is a workload.
type Load struct {
	Name    string
	Writers int
	Readers int
	Durable bool
	pick    func(w *worker) int
}

type worker struct {
	id   int
	rng  *rand.Rand
	zipf *rand.Zipf
}

func hot(*worker) int        { return 0 }
func disjoint(w *worker) int { return w.id % Blocks }
func zipf(w *worker) int     { return int(w.zipf.Uint64()) }

// Loads are the workloads of the goals.
func Loads() []Load {
	return []Load{
		{"120 writers, one hot block", 120, 0, false, hot},
		{"120 writers, Zipf over 1,024 blocks", 120, 0, false, zipf},
		{"120 writers, disjoint blocks", 120, 0, false, disjoint},
		{"8 writers beside 8 long readers", 8, 8, false, disjoint},
		{"8 long readers alone", 0, 8, false, disjoint},
		{"durable, 1 writer", 1, 0, true, disjoint},
		{"durable, 16 writers, disjoint", 16, 0, true, disjoint},
		{"durable, 120 writers, disjoint", 120, 0, true, disjoint},
		{"durable, 120 writers, one hot block", 120, 0, true, hot},
	}
}

// WriterLoads is one workload with several numbers of writers.
func WriterLoads(kind string, writers ...int) (out []Load) {
	pick := map[string]func(*worker) int{"hot": hot, "disjoint": disjoint, "zipf": zipf}[kind]
	for _, n := range writers {
		out = append(out, Load{fmt.Sprintf("%s, %d writers", kind, n), n, 0, false, pick})
	}
	return out
}

// Result has the figures of one run.
type Result struct {
	PerSecond float64 `json:"commits_per_second"`
	Aborts    float64 `json:"aborts_per_commit"`
	LogBytes  float64 `json:"log_bytes_per_commit"`
	Fairness  float64 `json:"fairness"`
	P50       float64 `json:"p50_us"`
	P999      float64 `json:"p999_us"`
	ReadP999  float64 `json:"read_p999_us"`
	Reads     float64 `json:"views_per_second"`

	Latency *hdrhistogram.Histogram `json:"-"` // nanoseconds
}

// Run measures one engine under one load.
func Run(m Maker, l Load, dir string, d time.Duration, seed uint64) (res Result, err error) {
	e, err := m.Open(dir, l.Durable)
	if err != nil {
		return res, fmt.Errorf("open %s: %w", m.Name, err)
	}
	var stop atomic.Bool
	time.AfterFunc(d, func() { stop.Store(true) })
	var mu sync.Mutex
	var wg sync.WaitGroup
	var commits []uint64
	var aborts, views uint64
	latency, reads := hdrhistogram.New(1, int64(time.Minute), 2), hdrhistogram.New(1, int64(time.Minute), 2)
	began := time.Now()
	note := func(n, a, v uint64, lat, rd *hdrhistogram.Histogram, failed error) {
		mu.Lock()
		defer mu.Unlock()
		if lat != nil {
			commits = append(commits, n)
			latency.Merge(lat)
		} else {
			reads.Merge(rd)
		}
		aborts, views = aborts+a, views+v
		if failed != nil && err == nil {
			err = fmt.Errorf("%s: %w", m.Name, failed)
		}
	}
	for i := range l.Writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			w := &worker{i, rng, rand.NewZipf(rng, 1.1, 1, Blocks-1)}
			n, a, h, failed := write(e, l, w, &stop)
			note(n, a, 0, h, nil, failed)
		})
	}
	for range l.Readers {
		wg.Go(func() {
			h := hdrhistogram.New(1, int64(time.Minute), 2)
			var n uint64
			var failed error
			for !stop.Load() && failed == nil {
				at := time.Now()
				failed = e.View()
				_ = h.RecordValue(int64(time.Since(at)) + 1)
				n++
			}
			note(0, 0, n, nil, h, failed)
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	total := uint64(0)
	for _, n := range commits {
		total += n
	}
	bytes, cerr := e.Close()
	if err == nil {
		err = cerr
	}
	if len(commits) == 0 {
		commits = []uint64{0}
	}
	slices.Sort(commits)
	each := max(float64(total), 1)
	res = Result{PerSecond: float64(total) / took, Aborts: float64(aborts) / each, LogBytes: float64(bytes) / each,
		Reads:    float64(views) / took,
		Fairness: float64(commits[0]) / max(float64(commits[len(commits)/2]), 1),
		P50:      float64(latency.ValueAtQuantile(50)) / 1000, P999: float64(latency.ValueAtQuantile(99.9)) / 1000,
		ReadP999: float64(reads.ValueAtQuantile(99.9)) / 1000, Latency: latency}
	return res, err
}

// write runs one writer. One latency in eight is taken where commits are not durable: the clock costs as much as a
// tenth of a commit.
func write(e Engine, l Load, w *worker, stop *atomic.Bool) (n, aborts uint64, h *hdrhistogram.Histogram, err error) {
	h = hdrhistogram.New(1, int64(time.Minute), 2)
	slot := w.id % Slots
	change := func(b []byte) { binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+1) }
	for !stop.Load() {
		timed := l.Durable || n%8 == 0
		var at time.Time
		if timed {
			at = time.Now()
		}
		a, err := e.Update(w.id, l.pick(w), slot, change)
		if err != nil {
			return n, aborts, h, err
		}
		if timed {
			_ = h.RecordValue(int64(time.Since(at)) + 1)
		}
		aborts += uint64(a)
		n++
	}
	return n, aborts, h, nil
}

// Median is the median of figures, and Spread the difference between the greatest and the least over it.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// Spread is the distance between the greatest and the least figure, over the median.
func Spread(v []float64) float64 {
	if m := Median(v); m > 0 {
		return (slices.Max(v) - slices.Min(v)) / m
	}
	return 0
}
