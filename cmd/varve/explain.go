package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/output"
)

// maxWatched bounds the records that explain keeps of a live mount.
const maxWatched = 1 << 20

func newExplain() *cobra.Command {
	var last int
	var listen time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain DIR|LEDGER [TX|COMMIT|BLOCK|PATH]",
		Short: "Tell conflicts as stories: who met whom, where, and why both stand or one began again",
		Long: "varve explain tells the newest conflicts: the block, both transactions with their operations and paths, the " +
			"fields that the edits are about, the proof that lets both stand, or the reason why one began again. It reads " +
			"a ledger that --evidence wrote, or listens to a read-write mount for a while. A number chooses a " +
			"transaction, a commit or a block; a path chooses operations on it, or below it.",
		Example: "  varve explain /var/log/varve.ledger\n  varve explain --for 10s /mnt /home",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			choose := evidence.Selection{Last: last}
			if len(args) == 2 {
				if n, err := strconv.ParseUint(args[1], 0, 64); err == nil && n > 0 {
					choose.Number = n
				} else if strings.HasPrefix(args[1], "/") {
					choose.Path = args[1]
				} else {
					return usageError{fmt.Errorf("%q is no number and no path: give a transaction, a commit, a block, or a "+
						"path that begins with /", args[1])}
				}
			}
			stories, err := storiesOf(cmd, args[0], listen, choose)
			if err != nil {
				return err
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), struct {
					SchemaVersion int              `json:"schema_version"`
					Stories       []evidence.Story `json:"stories"`
				}{output.SchemaVersion, append([]evidence.Story{}, stories...)})
			}
			return printStories(cmd.OutOrStdout(), stories)
		},
	}
	cmd.Flags().IntVar(&last, "last", 20, "at most so many conflicts, the newest")
	cmd.Flags().DurationVar(&listen, "for", 5*time.Second, "how long to listen to a mount")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// storiesOf tells the conflicts in a ledger, or on a mount while it listens.
func storiesOf(
	cmd *cobra.Command, from string, listen time.Duration, choose evidence.Selection,
) ([]evidence.Story, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		stories, err := evidence.Stories(func(do func(evidence.Record) error) error {
			f, err := importer.Open(cmd.Context(), from)
			if err != nil {
				return err
			}
			all, err := evidence.OpenAll(from, f)
			if err != nil {
				return err
			}
			defer all.Close()
			return evidence.Scan(all, do)
		}, choose)
		if err != nil {
			err = fmt.Errorf("%s: %w", from, err)
		}
		return stories, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), listen)
	defer cancel()
	var records []evidence.Record
	err = daemon.Watch(ctx, from,
		func(daemon.Watching) { fmt.Fprintf(cmd.ErrOrStderr(), "listening for %v\n", listen) },
		func(r *evidence.Record) error {
			if records = append(records, *r); len(records) == maxWatched {
				return errEnough
			}
			return nil
		})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return evidence.Stories(func(do func(evidence.Record) error) error {
		for i := range records {
			if err := do(records[i]); err != nil {
				return err
			}
		}
		return nil
	}, choose)
}

func printStories(out io.Writer, stories []evidence.Story) error {
	if len(stories) == 0 {
		_, err := fmt.Fprintln(out, "no conflicts")
		return err
	}
	for i := range stories {
		if _, err := io.WriteString(out, storyText(&stories[i])); err != nil {
			return err
		}
	}
	return nil
}

func storyText(s *evidence.Story) string {
	var b strings.Builder
	b.WriteString(s.Time.Local().Format("15:04:05.000000"))
	if s.Block != nil {
		fmt.Fprintf(&b, "  block %d", *s.Block)
		if s.What != "" {
			fmt.Fprintf(&b, " (%s)", s.What)
		}
	}
	if s.Merged {
		b.WriteString(": merged\n")
	} else {
		b.WriteString(": not merged\n")
	}
	fmt.Fprintf(&b, "  %s\n", partyText("transaction", &s.Came))
	if edits := strings.Join(s.Fields, ", "); edits != "" || s.Edits != "" {
		fmt.Fprintf(&b, "    edits %s", s.Edits)
		if edits != "" {
			fmt.Fprintf(&b, " of %s", edits)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "  %s\n", partyText("met transaction", &s.Met))
	if s.Merged {
		fmt.Fprintf(&b, "  both stand: %s (policy %s)\n", s.Proof, s.Policy)
		return b.String()
	}
	fmt.Fprintf(&b, "  began again: %s", s.Reason)
	if s.Policy != "" {
		fmt.Fprintf(&b, " (policy %s)", s.Policy)
	}
	if s.Came.Commit != 0 {
		fmt.Fprintf(&b, "; committed after %d lost attempts", s.Lost)
	}
	if s.Waited > 0 {
		fmt.Fprintf(&b, " and %v of waiting", time.Duration(s.Waited*1e9).Round(time.Microsecond))
	}
	b.WriteString("\n")
	return b.String()
}

func partyText(who string, p *evidence.Party) string {
	var b strings.Builder
	b.WriteString(who)
	if p.Tx != 0 {
		fmt.Fprintf(&b, " %d", p.Tx)
	}
	if p.Commit != 0 {
		fmt.Fprintf(&b, ", commit %d", p.Commit)
	}
	if o := p.Operation; o != nil {
		fmt.Fprintf(&b, ": %s %s", o.Name, shownPath(o.Path, o.Inode, o.Entry))
		if o.To != 0 {
			fmt.Fprintf(&b, " to %s", shownPath(o.ToPath, o.To, o.ToEntry))
		}
		if o.Bytes > 0 {
			fmt.Fprintf(&b, ", %d bytes at %d", o.Bytes, o.Offset)
		}
		if o.Thread != 0 {
			fmt.Fprintf(&b, ", by thread %d of user %d", o.Thread, o.UID)
		}
	}
	return b.String()
}
