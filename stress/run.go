package stress

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
)

// Config says what to run.
type Config struct {
	Workload  string
	Writers   int
	Policy    mvcc.Policy
	Isolation mvcc.Isolation
	Durable   bool
	Seed      uint64
	Duration  time.Duration // of the measured part
	Record    int           // transactions whose history is checked; 4,000 where 0, none where negative
	// file for the blocks; a temporary one where empty. Its log lies beside it, with the suffix .wal
	Device    string
	BlockSize block.Size // 4096 where 0
	Observer  mvcc.Observer
	Started   func(*mvcc.Store)
}

// MaxWriters bounds Config.Writers.
const MaxWriters = 1024

func (c Config) defaults() (Config, error) {
	if c.Writers < 1 || c.Writers > MaxWriters {
		return c, fmt.Errorf("%d writers: there are from 1 to %d", c.Writers, MaxWriters)
	}
	if c.BlockSize == 0 {
		c.BlockSize = 4096
	}
	if c.Record == 0 {
		c.Record = 4000
	}
	return c, nil
}

// Run is one workload under one policy.
type Run struct {
	cfg      Config
	work     workload
	dev      devices
	hash     maphash.Seed // of blocks, for comparison
	store    *mvcc.Store
	load     load
	writers  []*writer
	started  atomic.Uint64
	commits  atomic.Uint64 // of both parts
	skews    atomic.Int64
	rec      recorder
	missing  uint64 // updates that the workload's counts miss at the end
	lost     uint64 // updates that the history shows to be overwritten
	most     int    // attempts that one transaction lost
	reopened int    // times that the store was opened again and compared

	mu         sync.Mutex
	violated   int      // guarded by mu
	violations []string // guarded by mu: the first ones
}

// Do runs a workload and reports. An error means that it could not run; what went wrong with the data is in the report.
func Do(ctx context.Context, cfg Config) (Report, error) {
	cfg, err := cfg.defaults()
	if err != nil {
		return Report{}, err
	}
	work, err := find(cfg.Workload)
	if err != nil {
		return Report{}, err
	}
	r := &Run{cfg: cfg, work: work, hash: maphash.MakeSeed()}
	defer r.remove()
	if err := r.place(); err != nil {
		return Report{}, err
	}
	if err := r.open(); err != nil {
		return Report{}, err
	}
	defer func() {
		if r.store != nil {
			r.shut(false)
		}
	}()
	r.load = work.make(r)
	if err := r.load.setup(ctx); err != nil {
		return Report{}, fmt.Errorf("set up %s: %w", work.name, err)
	}
	if err := r.store.Sync(ctx); err != nil {
		return Report{}, fmt.Errorf("set up %s: %w", work.name, err)
	}
	if cfg.Started != nil {
		cfg.Started(r.store)
	}
	for i := range cfg.Writers {
		rng := rand.New(rand.NewPCG(cfg.Seed, uint64(i)))
		r.writers = append(r.writers, &writer{id: i, rng: rng, zipf: rand.NewZipf(rng, 1.1, 1, 1023), buf: make([]byte, 64)})
	}
	return r.measure(ctx)
}

func (r *Run) violation(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violated++
	if len(r.violations) < 50 {
		r.violations = append(r.violations, what)
	}
}

// compare compares the state with the number of commits. While writers run it lies between those that have returned
// and those that have begun.
func (r *Run) compare(what string, have uint64, running bool) []string {
	started, done := r.started.Load(), r.commits.Load()
	switch {
	case running && have > started:
		return []string{fmt.Sprintf("%d %s, and only %d transactions were begun", have, what, started)}
	case !running && have != done:
		r.misses(done, have)
		return []string{fmt.Sprintf("%d %s after %d commits", have, what, done)}
	}
	return nil
}

// misses notes that fewer updates are there than were committed.
func (r *Run) misses(committed, have uint64) {
	if have < committed {
		r.missing = max(r.missing, committed-have)
	}
}

// part counts the work of the writers in one part of the run.
type part struct {
	took     time.Duration
	commits  []uint64 // by writer
	aborts   uint64
	merged   uint64
	waited   uint64
	most     int                     // aborts of one transaction
	latency  *hdrhistogram.Histogram // nanoseconds
	readOnly *hdrhistogram.Histogram
	failed   error
}

// A counter's additions say nothing of their order, so that porcupine may have to try all of them: few at a time, and
// not too many.
const (
	counterWriters = 4
	counterRecord  = 1000
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 2) }

// race runs all writers until stop says so.
func (r *Run) race(ctx context.Context, stop func() bool, record bool) part {
	p := part{commits: make([]uint64, len(r.writers)), latency: newHistogram(), readOnly: newHistogram()}
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	writers := r.writers
	if _, ok := r.load.(*counter); ok && record {
		writers = writers[:min(len(writers), counterWriters)]
	}
	for _, w := range writers {
		wg.Go(func() {
			mine := part{latency: newHistogram(), readOnly: newHistogram()}
			before := w.count
			for !stop() && ctx.Err() == nil && mine.failed == nil {
				mine.failed = r.one(ctx, w, &mine, record)
			}
			r.flush(w)
			mu.Lock()
			defer mu.Unlock()
			p.commits[w.id] = w.count - before
			p.aborts += mine.aborts
			p.merged += mine.merged
			p.waited += mine.waited
			r.most = max(r.most, mine.most)
			p.latency.Merge(mine.latency)
			p.readOnly.Merge(mine.readOnly)
			if mine.failed != nil && ctx.Err() == nil {
				p.failed = mine.failed
			}
		})
	}
	wg.Wait()
	p.took = time.Since(began)
	return p
}

// sampled is how many transactions one latency stands for, where they take less than the clock: reading it costs as
// much as a tenth of them.
const sampled = 8

// one runs one transaction of a writer.
func (r *Run) one(ctx context.Context, w *writer, p *part, record bool) error {
	timed := record || r.cfg.Durable || w.rng.Uint32()%sampled == 0
	var began time.Time
	if timed {
		began = time.Now()
	}
	if record {
		w.rec = &Txn{Session: w.id, Begin: int64(began.Sub(epoch))}
	}
	if l, ok := r.load.(reader); ok && l.reads(w) {
		w.reads = !record
		err := r.store.ViewNamed(ctx, fmt.Sprintf("reader %d", w.id), func(tx *mvcc.Tx) error { return l.read(tx, w) })
		r.recorded(w, err == nil)
		if timed && err == nil {
			_ = p.readOnly.RecordValue(max(int64(time.Since(began)), 1))
		}
		return err
	}
	r.starts(w)
	out, done, err := r.update(ctx, w, began)
	r.recorded(w, err == nil)
	p.aborts += uint64(out.Aborts)
	p.most = max(p.most, out.Aborts)
	switch {
	case errors.Is(err, errOnPurpose):
		return nil
	case err != nil:
		return err
	}
	if out.Merged {
		p.merged++
	}
	if out.Waited > 0 {
		p.waited++
	}
	done()
	w.count++
	r.committed(w)
	if timed {
		_ = p.latency.RecordValue(max(int64(time.Since(began)), 1))
	}
	return nil
}

// update runs one transaction that writes. Each attempt that loses is a transaction of the history, too.
func (r *Run) update(ctx context.Context, w *writer, began time.Time) (out mvcc.Outcome, done func(), err error) {
	record := w.rec != nil
	purpose := record && w.rng.Uint32()%32 == 0
	tried := false
	out, err = r.store.UpdateWith(ctx, mvcc.TxOptions{Durable: r.cfg.Durable}, func(tx *mvcc.Tx) error {
		if record && tried {
			r.recorded(w, false)
			w.rec = &Txn{Session: w.id, Begin: int64(began.Sub(epoch))}
		}
		tried = true
		var err error
		done, err = r.load.step(tx, w)
		if record && w.rng.Uint32()%2 == 0 {
			runtime.Gosched() // others commit between what it has read and its commit
		}
		if err == nil && purpose {
			return errOnPurpose
		}
		return err
	})
	return out, done, err
}

// recorded adds a writer's transaction to the history, if it is recorded.
func (r *Run) recorded(w *writer, committed bool) {
	if w.rec == nil {
		return
	}
	w.rec.Committed = committed
	w.rec.End = int64(time.Since(epoch))
	r.rec.add(*w.rec)
	w.rec = nil
}

// epoch is the origin of the times in a history.
var epoch = time.Now()

// The counters of begun and committed transactions are shared; writers add to them in handfuls.
const handful = 64

func (r *Run) starts(w *writer) {
	if w.begun == 0 {
		w.begun = handful
		r.started.Add(handful)
	}
	w.begun--
}

func (r *Run) committed(w *writer) {
	if w.uncounted++; w.uncounted == handful {
		r.flush(w)
	}
}

// flush adds what a writer has not yet added.
func (r *Run) flush(w *writer) {
	r.commits.Add(w.uncounted)
	w.uncounted = 0
}

// measure runs both parts and everything that checks them.
func (r *Run) measure(ctx context.Context) (Report, error) {
	watching, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watching) })
	var recorded part
	if r.cfg.Record > 0 {
		r.rec.max = r.cfg.Record
		if _, ok := r.load.(*counter); ok {
			r.rec.max = min(r.rec.max, counterRecord)
		}
		limit := time.Now().Add(10 * time.Second)
		checkpointing, stop := context.WithCancel(ctx)
		watch.Go(func() { r.checkpoint(checkpointing) })
		recorded = r.race(ctx, func() bool { return r.rec.full() || time.Now().After(limit) }, true)
		stop()
		if recorded.failed != nil {
			stopWatch()
			watch.Wait()
			return Report{}, recorded.failed
		}
	}
	before := r.store.Stats()
	var over atomic.Bool
	timer := time.AfterFunc(r.cfg.Duration, func() { over.Store(true) })
	defer timer.Stop()
	p := r.race(ctx, over.Load, false)
	stopWatch()
	watch.Wait()
	if p.failed != nil {
		return Report{}, p.failed
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	if err := r.store.Flush(); err != nil {
		return Report{}, err
	}
	after := r.store.Stats()
	r.verify(ctx)
	if err := r.reopen(ctx); err != nil {
		return Report{}, err
	}
	return r.report(p, before, after), nil
}

// checkpoint writes blocks home all the time, so that chains end and begin while the history is recorded (M8).
func (r *Run) checkpoint(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.store.Checkpoint(); err != nil {
			r.violation(fmt.Sprintf("checkpoint: %v", err))
			return
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// watch checks the invariant while the writers run, and reads the counter for porcupine.
func (r *Run) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.store.ViewNamed(ctx, "the invariant's check", func(tx *mvcc.Tx) error {
			for _, bad := range r.load.check(tx, true) {
				r.violation("while running: " + bad)
			}
			return nil
		})
		if err != nil {
			r.violation(err.Error())
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
