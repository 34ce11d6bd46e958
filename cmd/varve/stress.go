package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/metrics"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/stress"
)

// stressFlags are the options of varve stress.
type stressFlags struct {
	workload, policy, isolation, metrics string
	overwrite, json                      bool
	ledger                               ledgerFlags
	cfg                                  stress.Config
}

var policies = map[string][]mvcc.Policy{
	"strict": {mvcc.Strict}, "merge": {mvcc.Merge}, "wait": {mvcc.Wait}, "adaptive": {mvcc.Adaptive},
	"all": {mvcc.Strict, mvcc.Merge, mvcc.Wait, mvcc.Adaptive},
}

func newStress() *cobra.Command {
	var f stressFlags
	var b strings.Builder
	for _, w := range stress.Workloads() {
		fmt.Fprintf(&b, "  %-10s%s\n", w, stress.Describe(w))
	}
	cmd := &cobra.Command{
		Use:   "stress",
		Short: "Run concurrent writers against the storage engine, and prove that nothing was lost",
		Long: "varve stress runs concurrent writers against the storage engine. Each run records a history, which is " +
			"checked for anomalies, and checks the workload's invariant while it runs and at its end. Losses are " +
			"reported with the command that repeats the run, and the exit code is 14.\n\nWorkloads:\n" + b.String(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.workload, "workload", "all", "`name` of the workload, or all")
	fl.IntVar(&f.cfg.Writers, "writers", 120, "concurrent writers, 1 to 1024")
	fl.StringVar(&f.policy, "policy", "all", "strict, merge, wait, adaptive or all")
	fl.StringVar(&f.isolation, "isolation", "snapshot", "snapshot or serializable")
	fl.BoolVar(&f.cfg.Durable, "durable", false, "each commit waits until it is durable")
	fl.Uint64Var(&f.cfg.Seed, "seed", 0, "seed of the writers' choices (a random one where 0)")
	fl.DurationVar(&f.cfg.Duration, "duration", 300*time.Millisecond,
		"how long each workload is measured under each policy")
	fl.StringVar(&f.cfg.Device, "device", "", "`file` for the blocks instead of a temporary one; its log is FILE.wal")
	fl.BoolVar(&f.overwrite, "overwrite", false, "let --device overwrite a file that exists")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	fl.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics, and JSON at /stats, on this `address`")
	f.ledger.add(cmd, "")
	return cmd
}

// errLost says that a run lost data or broke its isolation level.
var errLost = errors.New("the engine broke a promise")

// stressResult is the document of --json.
type stressResult struct {
	SchemaVersion int             `json:"schema_version"`
	Seed          uint64          `json:"seed"`
	Runs          []stress.Report `json:"runs"`
}

func (f *stressFlags) run(cmd *cobra.Command) error {
	works, pols, err := f.parse()
	if err != nil {
		return usageError{err}
	}
	if err := f.guardDevice(); err != nil {
		return err
	}
	observe, finish, err := f.observe(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	result := stressResult{SchemaVersion: output.SchemaVersion, Seed: f.cfg.Seed}
	passed := 0
	for _, w := range works {
		var reports []stress.Report
		for _, p := range pols {
			cfg := f.cfg
			cfg.Workload, cfg.Policy = w, p
			observe(&cfg)
			rep, err := stress.Do(cmd.Context(), cfg)
			if err != nil {
				return errors.Join(fmt.Errorf("%s under %v: %w", w, p, err), finish())
			}
			reports = append(reports, rep)
		}
		if !slices.ContainsFunc(reports, func(r stress.Report) bool { return !r.Passed() }) {
			passed++
		}
		result.Runs = append(result.Runs, reports...)
		if !f.json {
			printStress(out, w, reports)
			f.printViolations(out, reports)
		}
	}
	if err := finish(); err != nil {
		return err
	}
	summary := fmt.Sprintf("%d workloads, %d passed, %d failed", len(works), passed, len(works)-passed)
	if f.json {
		err = output.WriteJSON(out, result)
	} else {
		_, err = fmt.Fprintf(out, "seed %d\n%s\n", f.cfg.Seed, summary)
	}
	if err == nil && passed < len(works) {
		return fmt.Errorf("%w: %s", errLost, summary)
	}
	return err
}

func (f *stressFlags) parse() (works []string, pols []mvcc.Policy, err error) {
	works = stress.Workloads()
	if f.workload != "all" {
		if !slices.Contains(works, f.workload) {
			return nil, nil, fmt.Errorf("no workload %q: there are %s, and all", f.workload, strings.Join(works, ", "))
		}
		works = []string{f.workload}
	}
	pols, ok := policies[f.policy]
	if !ok {
		return nil, nil, fmt.Errorf("no policy %q: there are strict, merge, wait, adaptive and all", f.policy)
	}
	switch f.isolation {
	case "snapshot":
	case "serializable":
		f.cfg.Isolation = mvcc.Serializable
	default:
		return nil, nil, fmt.Errorf("no isolation level %q: there are snapshot and serializable", f.isolation)
	}
	if f.cfg.Writers < 1 || f.cfg.Writers > stress.MaxWriters {
		return nil, nil, fmt.Errorf("%d writers: there are from 1 to %d", f.cfg.Writers, stress.MaxWriters)
	}
	if f.cfg.Duration <= 0 {
		return nil, nil, fmt.Errorf("a duration of %v: it must be more than 0", f.cfg.Duration)
	}
	for f.cfg.Seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:])
		f.cfg.Seed = binary.LittleEndian.Uint64(b[:]) >> 16
	}
	return works, pols, nil
}

// guardDevice keeps --device from overwriting files that exist.
func (f *stressFlags) guardDevice() error {
	if f.cfg.Device == "" || f.overwrite {
		return nil
	}
	for _, path := range []string{f.cfg.Device, f.cfg.Device + ".wal"} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists, and the writers would overwrite it; name another file, or give --overwrite",
				path)
		}
	}
	return nil
}

// observe begins the metrics and the ledger of the runs.
func (f *stressFlags) observe(ctx context.Context) (each func(*stress.Config), finish func() error, err error) {
	var ledger *evidence.File
	if f.ledger.path != "" {
		if ledger, err = evidence.Append(f.ledger.path, f.ledger.bounds()); err != nil {
			return nil, nil, err
		}
	}
	var m *metrics.Server
	if f.metrics != "" {
		if m, err = metrics.Serve(ctx, f.metrics); err != nil {
			return nil, nil, err
		}
	}
	each = func(c *stress.Config) {
		if f.overwrite && c.Device != "" {
			_ = os.Remove(c.Device)
			_ = os.Remove(c.Device + ".wal")
		} else if c.Device != "" {
			f.overwrite = true // what the next run overwrites is this one's
		}
		if ledger != nil {
			c.Observer = ledger
		}
		if m != nil {
			c.Started = m.Watch
		}
	}
	finish = func() error {
		if m != nil {
			m.Close()
		}
		if ledger == nil {
			return nil
		}
		return ledger.Close()
	}
	return each, finish, nil
}

func printStress(out io.Writer, workload string, reports []stress.Report) {
	fmt.Fprintf(out, "%s: %s; %d writers, %s%s\n", workload, stress.Describe(workload), reports[0].Writers,
		reports[0].Isolation, map[bool]string{true: ", durable"}[reports[0].Durable])
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(
		w,
		"policy\tcommits/s\tconflicts\tmerges\taborts\twaits\tp50 us\tp99 us\tp99.9 us\tfairness\tgoodput\t"+
			"most aborts\tlost updates\tloss us\tWAL B/commit\t",
	)
	for _, r := range reports {
		fmt.Fprintf(w, "%s\t%.0f\t%.4f\t%.4f\t%.4f\t%.4f\t%.1f\t%.1f\t%.1f\t%.2f\t%.3f\t%d\t%d\t%.3f\t%.0f\t\n",
			r.Policy, r.CommitsPerSecond, r.ConflictRate, r.MergeRate, r.AbortRate, r.WaitRate, r.Latency.P50,
			r.Latency.P99, r.Latency.P999, r.Fairness, r.Goodput, r.MostAborts, r.LostUpdates, r.ExpectedLoss*1e6,
			r.WALBytesPerCommit)
	}
	w.Flush()
	printLoss(out, reports)
	for _, r := range reports {
		if r.WriteSkews > 0 {
			fmt.Fprintf(out, "  %s: write skew was seen %d times: %s allows it, serializable does not\n", r.Policy,
				r.WriteSkews, r.Isolation)
		}
	}
}

func (f *stressFlags) printViolations(out io.Writer, reports []stress.Report) {
	for _, r := range reports {
		for i, v := range r.What {
			if i == 10 {
				fmt.Fprintf(out, "  and %d more\n", r.Violations-i)
				break
			}
			fmt.Fprintf(out, "  VIOLATION under %s: %s\n", r.Policy, v)
		}
		if !r.Passed() {
			fmt.Fprintf(
				out,
				"  repeat with: varve stress --workload %s --policy %s --isolation %s --writers %d --seed %d --duration %v%s\n",
				r.Workload,
				r.Policy,
				r.Isolation,
				r.Writers,
				f.cfg.Seed,
				f.cfg.Duration,
				map[bool]string{true: " --durable"}[r.Durable],
			)
		}
	}
}
