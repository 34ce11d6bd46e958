package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
)

func newStats() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats DIR",
		Short: "Show what a read-write mount does: operations, conflicts, merges, epochs, hottest blocks",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := daemon.AskStats(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), m)
			}
			return printStats(cmd.OutOrStdout(), m)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStats(out io.Writer, m *daemon.Stats) error {
	fmt.Fprintf(out, "%s: %s\n", m.Image, m.Options)
	if m.Failed != "" {
		fmt.Fprintf(out, "takes no more changes: %s\n", m.Failed)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "operation\tdone\tfailed\tmerged\taborts\twaited\t")
	for _, o := range m.Operations {
		if o.Done+o.Failed > 0 {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t\n", o.Name, o.Done, o.Failed, o.Merged, o.Aborts, o.Waited)
		}
	}
	fmt.Fprintln(w, "conflicts at\tmerged\taborted\twaits\twaited\t\t")
	for _, k := range m.Kinds {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%v\t\t\n", k.Kind, k.Merges, k.Aborts, k.Waits, time.Duration(k.Waited))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, h := range m.Hot {
		fmt.Fprintf(out, "block %d (%s): about %d conflicts\n", h.Block, h.What, h.Conflicts)
	}
	s := m.Store
	fmt.Fprintf(out,
		"policy %s: expected loss a commit: strict %.3g s, merge %.3g s, wait %.3g s; conflict rate %.3g\n", m.Policy,
		s.Losses.Strict, s.Losses.Merge, s.Losses.Wait, s.Losses.ConflictRate)
	fmt.Fprintf(
		out,
		"%d commits, %d not yet durable; %d epochs in %.2f s; journal %.0f %% full; back-pressure: %s; "+
			"writers held back %d times\n",
		s.Commits,
		s.Published-s.Durable,
		s.Flushes,
		s.FlushSeconds,
		100*s.Pressure,
		s.BackPressure,
		s.HeldBack,
	)
	if s.Waiting > 0 {
		fmt.Fprintf(out, "%d writers wait now; the oldest snapshot is that of %s\n", s.Waiting, s.WaitingFor)
	}
	fmt.Fprintf(out,
		"%d blocks with versions, %d old versions (%d bytes), %d clean blocks cached; %d blocks and %d inodes free\n",
		s.Chains, s.History, s.HistoryBytes, s.CleanBlocks, m.Free, m.FreeInodes)
	return nil
}
