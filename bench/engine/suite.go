package engine

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// Figure is one line of a suite: an engine under a load.
type Figure struct {
	Load    string   `json:"load"`
	Engine  string   `json:"engine"`
	Writers int      `json:"writers"`
	Median  float64  `json:"commits_per_second"`
	Spread  float64  `json:"spread"` // see Spread
	Runs    []Result `json:"runs"`   // one a round
}

// Suite runs the measurements of varve bench: our store beside the limits of the machine.
type Suite struct {
	Rounds   int
	Duration time.Duration                    // of each measurement
	Only     func(load string) bool           // nil: all loads
	Progress func(done, all int, what string) // called before each measurement; may be nil
}

// job is one load for one engine.
type job struct {
	load  Load
	maker Maker
	cores int // GOMAXPROCS while it runs; 0: as it is
}

// scaling is how many writers the curves have.
var scaling = []int{1, 2, 8, 32, 120, 512, 1024}

// jobs lists the measurements: every load on every engine, then the curves over writers and cores.
func (s Suite) jobs() (jobs []job) {
	add := func(l Load, cores int, ms ...Maker) {
		if s.Only != nil && !s.Only(l.Name) {
			return
		}
		for _, m := range ms {
			if m.Skip == nil || !m.Skip(l) {
				jobs = append(jobs, job{l, m, cores})
			}
		}
	}
	for _, l := range Loads() {
		add(l, 0, Varve(mvcc.Strict), Varve(mvcc.Merge), Varve(mvcc.Wait), Varve(mvcc.Adaptive), Map(), Limit())
	}
	for _, kind := range []string{"hot", "disjoint"} {
		for _, l := range WriterLoads(kind, scaling...) {
			add(l, 0, Varve(mvcc.Merge))
		}
	}
	for cores := 1; cores <= min(runtime.NumCPU(), 2); cores++ {
		l := WriterLoads("disjoint", 16)[0]
		l.Name = fmt.Sprintf("disjoint, 16 writers, cores: %d", cores)
		add(l, cores, Varve(mvcc.Merge))
	}
	return jobs
}

// Run measures everything in interleaved rounds.
func (s Suite) Run() ([]Figure, error) {
	jobs := s.jobs()
	figures := make([]Figure, len(jobs))
	for round := range s.Rounds {
		for i, j := range jobs {
			if s.Progress != nil {
				s.Progress(round*len(jobs)+i, s.Rounds*len(jobs), j.load.Name+": "+j.maker.Name)
			}
			res, err := j.run(s.Duration, uint64(round))
			if err != nil {
				return nil, err
			}
			f := &figures[i]
			f.Load, f.Engine, f.Writers = j.load.Name, j.maker.Name, j.load.Writers
			f.Runs = append(f.Runs, res)
		}
	}
	for i := range figures {
		var v []float64
		for _, r := range figures[i].Runs {
			v = append(v, r.PerSecond)
		}
		figures[i].Median, figures[i].Spread = Median(v), Spread(v)
	}
	return figures, nil
}

// run measures once, in a temporary folder.
func (j job) run(d time.Duration, seed uint64) (Result, error) {
	dir, err := os.MkdirTemp("", "varve-bench-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	if j.cores > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(j.cores))
	}
	return Run(j.maker, j.load, dir, d, seed)
}
