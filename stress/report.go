package stress

import (
	"github.com/varvefs/varve/mvcc"
)

// Report is the result of a run. The JSON fields are a contract (docs/cli.md).
type Report struct {
	Workload          string      `json:"workload"`
	Policy            string      `json:"policy"`
	Isolation         string      `json:"isolation"`
	Writers           int         `json:"writers"`
	Durable           bool        `json:"durable"`
	Seconds           float64     `json:"seconds"`
	Commits           uint64      `json:"commits"`
	CommitsPerSecond  float64     `json:"commits_per_second"`
	ConflictRate      float64     `json:"conflict_rate"` // conflicts a commit
	MergeRate         float64     `json:"merge_rate"`    // merged commits a commit
	AbortRate         float64     `json:"abort_rate"`    // lost attempts a commit
	WaitRate          float64     `json:"wait_rate"`     // commits that waited in a queue, a commit
	Latency           Latency     `json:"latency_us"`
	Reads             Latency     `json:"read_latency_us"`
	Fairness          float64     `json:"fairness"`      // slowest writer over median
	ExpectedLoss      float64     `json:"expected_loss"` // seconds a commit, under this policy
	Losses            mvcc.Losses `json:"losses"`
	AbortsAvoided     uint64      `json:"aborts_avoided"` // merged commits, each of which strict would have tried again
	Goodput           float64     `json:"goodput"`        // commits over attempts
	WALBytesPerCommit float64     `json:"wal_bytes_per_commit"`
	// committed and overwritten: in the recorded history, or by the workload's counts at the end, whichever is more
	LostUpdates uint64 `json:"lost_updates"`
	MostAborts  int    `json:"most_aborts"` // attempts that one transaction lost
	// times that the store was opened again from its files and compared
	Reopened   int        `json:"reopened"`
	WriteSkews int64      `json:"write_skews"`
	Recorded   int        `json:"recorded_transactions"`
	Switches   int64      `json:"policy_switches"`
	Violations int        `json:"violations"`
	What       []string   `json:"violation_texts"` // the first 50
	HotBlocks  []mvcc.Hot `json:"hot_blocks"`
}

// Latency is percentiles in microseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

// report makes the report of the measured part.
func (r *Run) report(p part, before, after mvcc.Stats) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	commits := uint64(0)
	for _, n := range p.commits {
		commits += n
	}
	each := max(float64(commits), 1)
	out := Report{
		Workload: r.work.name, Policy: r.cfg.Policy.String(), Isolation: r.cfg.Isolation.String(),
		Writers: r.cfg.Writers, Durable: r.cfg.Durable,
		Seconds: p.took.Seconds(), Commits: commits, CommitsPerSecond: float64(commits) / p.took.Seconds(),
		ConflictRate: float64(after.Conflicts-before.Conflicts) / each, MergeRate: float64(p.merged) / each,
		AbortRate: float64(p.aborts) / each, WaitRate: float64(p.waited) / each,
		Latency: percentiles(p.latency), Reads: percentiles(p.readOnly),
		Fairness: r.fairness(p.commits), Losses: after.Losses,
		AbortsAvoided: p.merged, Goodput: float64(commits) / max(float64(commits+p.aborts), 1),
		WALBytesPerCommit: float64(after.WALBytes-before.WALBytes) / each,
		WriteSkews:        r.skews.Load(), Recorded: len(r.rec.txns), Switches: after.Switches,
		LostUpdates: max(r.lost, r.missing), MostAborts: r.most, Reopened: r.reopened,
		Violations: r.violated, What: append([]string{}, r.violations...), HotBlocks: after.Hot,
	}
	if n := after.Conflicts - before.Conflicts; n > 0 { // the recorded part has more conflicts than its load
		out.Losses.MergeSuccess = float64(after.Merges-before.Merges) / float64(n)
	}
	out.Losses.ConflictRate = out.ConflictRate
	out.Losses.Expect()
	out.ExpectedLoss = out.Losses.Of(r.cfg.Policy)
	if len(out.HotBlocks) > 8 {
		out.HotBlocks = out.HotBlocks[:8]
	}
	return out
}

// Passed reports whether the run found no violation: no lost update, no anomaly, no broken invariant.
func (r Report) Passed() bool { return r.Violations == 0 }
