package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/output"
)

// ledgerFlags are the flags of a command that writes a ledger.
type ledgerFlags struct {
	path   string
	size   sizeFlag
	limits evidence.Limits
}

func (l *ledgerFlags) add(cmd *cobra.Command, when string) {
	fl := cmd.Flags()
	fl.StringVar(&l.path, "evidence", "", when+"append the evidence ledger to this `file`")
	fl.Var(&l.size, "evidence-size",
		when+"begin a new ledger at this `size`, and keep older ones as FILE.1 and so on (64M)")
	fl.IntVar(&l.limits.Files, "evidence-files", 0, when+"keep so many files of the ledger (4)")
}

// bounds are the limits that the flags ask for.
func (l *ledgerFlags) bounds() evidence.Limits {
	return evidence.Limits{Bytes: int64(l.size), Files: l.limits.Files}
}

// sizeFlag is a number of bytes with an optional suffix.
type sizeFlag int64

func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return formatSize(int64(*s))
}

// Set follows pflag.Value.
func (s *sizeFlag) Set(text string) error {
	n, err := parseSize(text)
	if err == nil && n == 0 {
		err = errors.New("a size of 0")
	}
	*s = sizeFlag(n)
	return err
}

// Type follows pflag.Value.
func (*sizeFlag) Type() string { return "size" }

// evidenceFlags are the options of varve evidence.
type evidenceFlags struct {
	preset               string
	list, follow, asJSON bool
	since, until         string
	block                int64
	only                 evidence.Filter
}

func newEvidence() *cobra.Command {
	var f evidenceFlags
	presets := strings.Join(evidence.Presets, ", ")
	cmd := &cobra.Command{
		Use:   "evidence FILE",
		Short: "Answer from the evidence ledger of a store",
		Long: "varve evidence answers a preset question from a ledger that --evidence of varve stress or varve mount " +
			"wrote: " + presets + ". Older files of the ledger, FILE.1 and so on, are read first. --list prints the " +
			"records in place of an answer, one JSON object a line; --follow goes on with those to come.",
		Example: "  varve evidence --preset slowest --since 10m FILE\n" +
			"  varve evidence --follow --event conflict,rename FILE",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.preset, "preset", "contention", presets)
	fl.BoolVar(&f.list, "list", false, "print the records, one JSON object a line")
	fl.BoolVar(&f.follow, "follow", false, "list the records of the newest file, and those to come")
	fl.StringSliceVar(&f.only.Events, "event", nil, "only events, or operations, of these names")
	fl.StringVar(&f.since, "since", "", "only from this `time` on: RFC 3339, or how long ago (10m)")
	fl.StringVar(&f.until, "until", "", "only up to this `time`")
	fl.Int64Var(&f.block, "block", -1, "only events of this block")
	fl.Uint32Var(&f.only.Inode, "inode", 0, "only operations on this inode")
	fl.StringVar(&f.only.Path, "path", "", "only operations on this path, or below it")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// filter completes the filter.
func (f *evidenceFlags) filter() (err error) {
	if f.only.Since, err = parseTime(f.since); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if f.only.Until, err = parseTime(f.until); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	if f.block >= 0 {
		n := uint64(f.block)
		f.only.Block = &n
	}
	if !slices.Contains(evidence.Presets, f.preset) {
		return fmt.Errorf("no preset %q: there are %s", f.preset, strings.Join(evidence.Presets, ", "))
	}
	return nil
}

// parseTime reads a time, or how long ago it is.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		err = fmt.Errorf("%q is no time: give RFC 3339, as 2026-01-02T15:04:05Z, or how long ago, as 10m", s)
	}
	return t, err
}

func (f *evidenceFlags) run(cmd *cobra.Command, path string) error {
	if err := f.filter(); err != nil {
		return usageError{err}
	}
	out := cmd.OutOrStdout()
	list := func(r evidence.Record) error {
		if !f.only.Wants(&r) {
			return nil
		}
		return json.NewEncoder(out).Encode(r)
	}
	if f.follow {
		return evidence.Follow(cmd.Context(), path, list)
	}
	file, err := importer.Open(cmd.Context(), path)
	if err != nil {
		return err
	}
	all, err := evidence.OpenAll(path, struct {
		io.Reader
		io.Closer
	}{importer.Interruptible(cmd.Context(), file), file})
	if err != nil {
		return err
	}
	defer all.Close()
	if f.list {
		return evidence.Scan(all, list)
	}
	a, err := evidence.Ask(all, f.preset, f.only)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if f.asJSON {
		return output.WriteJSON(out, struct {
			SchemaVersion int `json:"schema_version"`
			evidence.Answer
		}{output.SchemaVersion, a})
	}
	return printAnswer(cmd, a)
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
	for i := range a.Slowest {
		if err := printSlow(out, &a.Slowest[i]); err != nil {
			return err
		}
	}
	for _, f := range a.Findings {
		fmt.Fprintln(out, f)
	}
	return nil
}

// printSlow prints an operation that took long, or a commit that waited long.
func printSlow(out io.Writer, r *evidence.Record) error {
	if r.Operation != nil {
		return printOperation(out, r, "thread ")
	}
	_, err := fmt.Fprintf(out, "%s  transaction %d waited %v until commit %d, after %d lost attempts\n",
		r.Time.Local().Format("15:04:05.000000"), r.Tx, time.Duration(r.Wait*1e9).Round(time.Microsecond), r.Seq, r.Count)
	return err
}
