package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/bench/engine"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

func newBench() *cobra.Command {
	var rounds int
	var duration time.Duration
	var only, html string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the storage engine beside what the machine allows",
		Long: "varve bench measures the engine under each policy, in interleaved rounds, beside a map in memory with a " +
			"mutex a block, and beside what fdatasync allows. " +
			"One transaction reads and changes 32 bytes of a 4 KiB block. Other stores are compared by make bench-engine.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rounds < 1 || duration <= 0 {
				return usageError{fmt.Errorf("%d rounds of %v: both must be more than 0", rounds, duration)}
			}
			s := engine.Suite{
				Rounds:   rounds,
				Duration: duration,
				Only:     func(l string) bool { return strings.Contains(l, only) },
				Progress: progress(cmd.ErrOrStderr()),
			}
			figures, err := s.Run()
			if err != nil {
				return err
			}
			phases := map[string][]engine.Sample{}
			totals := map[string]uint64{}
			if only == "" || html != "" {
				for _, p := range policies["all"] {
					n, samples, err := engine.Phases(p, max(duration, 200*time.Millisecond))
					if err != nil {
						return err
					}
					phases[p.String()], totals[p.String()] = samples, n
				}
			}
			if html != "" {
				if err := writePage(html, figures, phases); err != nil {
					return err
				}
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), struct {
					SchemaVersion int               `json:"schema_version"`
					Figures       []engine.Figure   `json:"figures"`
					Phases        map[string]uint64 `json:"commits_over_changing_phases"`
				}{output.SchemaVersion, figures, totals})
			}
			return printBench(cmd.OutOrStdout(), figures, totals)
		},
	}
	f := cmd.Flags()
	f.IntVar(&rounds, "rounds", 3, "interleaved rounds; medians are printed")
	f.DurationVar(&duration, "duration", 500*time.Millisecond, "length of one run")
	f.StringVar(&only, "load", "", "only the loads whose names contain this `text`")
	f.StringVar(&html, "html", "", "write a page with plots to this `file`")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writePage(path string, figures []engine.Figure, phases map[string][]engine.Sample) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := engine.WriteHTML(f, figures, phases); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func printBench(out io.Writer, figures []engine.Figure, phases map[string]uint64) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	load := ""
	for _, f := range figures {
		if f.Load != load {
			load = f.Load
			fmt.Fprintf(w, "%s\n", load)
			fmt.Fprintln(w,
				"  store\tcommits/s\tspread\taborts a commit\tlog bytes a commit\tp50 us\tp99.9 us\tfairness")
		}
		r := f.Runs[len(f.Runs)/2]
		fmt.Fprintf(w, "  %s\t%.0f\t%.0f%%\t%.4f\t%.0f\t%.1f\t%.1f\t%.2f\n", f.Engine, f.Median, 100*f.Spread, r.Aborts,
			r.LogBytes, r.P50, r.P999, r.Fairness)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(phases) > 0 {
		fmt.Fprintln(out, "commits over a run that changes phase")
		for _, p := range []mvcc.Policy{mvcc.Strict, mvcc.Merge, mvcc.Wait, mvcc.Adaptive} {
			fmt.Fprintf(out, "  %s: %d\n", p, phases[p.String()])
		}
	}
	return nil
}
