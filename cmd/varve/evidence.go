package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/output"
)

func newEvidence() *cobra.Command {
	var preset string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "evidence FILE",
		Short: "Answer from the evidence ledger of a store",
		Long: "varve evidence answers a preset question from a ledger that --evidence of varve stress or varve mount " +
			"wrote: contention, replay-anomalies or pressure.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(evidence.Presets, preset) {
				return usageError{
					fmt.Errorf("no preset %q: there are %s", preset, strings.Join(evidence.Presets, ", ")),
				}
			}
			file, err := importer.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			a, err := evidence.Ask(importer.Interruptible(cmd.Context(), file), preset)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), struct {
					SchemaVersion int `json:"schema_version"`
					evidence.Answer
				}{output.SchemaVersion, a})
			}
			return printAnswer(cmd, a)
		},
	}
	cmd.Flags().StringVar(&preset, "preset", "contention", "contention, replay-anomalies or pressure")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printAnswer(cmd *cobra.Command, a evidence.Answer) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d records, %d events dropped, %d lines that are no records\n", a.Records, a.Dropped,
		len(a.Malformed))
	for _, k := range slices.Sorted(maps.Keys(a.Events)) {
		fmt.Fprintf(out, "  %s: %d\n", k, a.Events[k])
	}
	if len(a.Blocks) > 0 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "block\tconflicts\tmerged\tnot merged\taborts\t")
		for _, b := range a.Blocks {
			fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t\n", b.Block, b.Conflicts, b.Applied, b.Rejected, b.Aborts)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(a.Proofs)) {
		fmt.Fprintf(out, "proof %s: %d\n", k, a.Proofs[k])
	}
	for _, k := range slices.Sorted(maps.Keys(a.Reasons)) {
		fmt.Fprintf(out, "reason %s: %d\n", k, a.Reasons[k])
	}
	for _, s := range a.Switches {
		fmt.Fprintf(out, "%s block %d: %s to %s, conflicts %.3f a commit, merged %.0f%%\n",
			s.Time.Format("15:04:05.000"), *s.Block, s.Outcome, s.Policy, s.Inputs.ConflictRate,
			100*s.Inputs.MergeSuccess)
	}
	for _, f := range a.Findings {
		fmt.Fprintln(out, f)
	}
	return nil
}
