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
func Run(m Maker, l Load, dir string, d time.Duration, seed uint64) (Result, error) {
	e, err := m.Open(dir, l.Durable)
	if err != nil {
		return Result{}, fmt.Errorf("open %s: %w", m.Name, err)
	}
	var stop atomic.Bool
	time.AfterFunc(d, func() { stop.Store(true) })
	t := tally{engine: m.Name, latency: newHistogram(), reads: newHistogram()}
	var wg sync.WaitGroup
	began := time.Now()
	for i := range l.Writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			t.wrote(write(e, l, &worker{i, rng, rand.NewZipf(rng, 1.1, 1, Blocks-1)}, &stop))
		})
	}
	for range l.Readers {
		wg.Go(func() { t.read(read(e, &stop)) })
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	bytes, err := e.Close()
	if t.err != nil {
		err = t.err
	}
	return t.result(took, bytes), err
}

// tally sums up what the writers and readers of a run did.
type tally struct {
	engine string

	mu             sync.Mutex // guards the rest
	commits        []uint64   // of each writer
	aborts, views  uint64
	latency, reads *hdrhistogram.Histogram // in nanoseconds
	err            error                   // the first
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 2) }

// wrote adds one writer: its commits, the attempts that it lost, its latencies and its error.
func (t *tally) wrote(commits, aborts uint64, latency *hdrhistogram.Histogram, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.commits = append(t.commits, commits)
	t.aborts += aborts
	t.latency.Merge(latency)
	t.failed(err)
}

// read adds one reader: its views, their latencies and its error.
func (t *tally) read(views uint64, latency *hdrhistogram.Histogram, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.views += views
	t.reads.Merge(latency)
	t.failed(err)
}

// failed keeps the first error. The caller holds mu.
func (t *tally) failed(err error) {
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("%s: %w", t.engine, err)
	}
}

// result is the result of a run that took so many seconds and wrote so many bytes to its log.
func (t *tally) result(took float64, logBytes int64) Result {
	commits := t.commits
	if len(commits) == 0 {
		commits = []uint64{0}
	}
	slices.Sort(commits)
	total := uint64(0)
	for _, n := range commits {
		total += n
	}
	each := max(float64(total), 1)
	return Result{PerSecond: float64(total) / took, Aborts: float64(t.aborts) / each, LogBytes: float64(logBytes) / each,
		Reads:    float64(t.views) / took,
		Fairness: float64(commits[0]) / max(float64(commits[len(commits)/2]), 1),
		P50:      float64(t.latency.ValueAtQuantile(50)) / 1000, P999: float64(t.latency.ValueAtQuantile(99.9)) / 1000,
		ReadP999: float64(t.reads.ValueAtQuantile(99.9)) / 1000, Latency: t.latency}
}

// read runs one reader: it views all blocks again and again.
func read(e Engine, stop *atomic.Bool) (views uint64, h *hdrhistogram.Histogram, err error) {
	h = newHistogram()
	for !stop.Load() && err == nil {
		at := time.Now()
		err = e.View()
		_ = h.RecordValue(int64(time.Since(at)) + 1)
		views++
	}
	return views, h, err
}

// write runs one writer. One latency in eight is taken where commits are not durable: the clock costs as much as a
// tenth of a commit.
func write(e Engine, l Load, w *worker, stop *atomic.Bool) (n, aborts uint64, h *hdrhistogram.Histogram, err error) {
	h = newHistogram()
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
