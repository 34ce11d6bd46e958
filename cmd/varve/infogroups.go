package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/survey"
)

// printGroup prints a block group as dumpe2fs does.
func printGroup(w io.Writer, g *survey.Group, sums bool) {
	fmt.Fprintf(w, "Group %d: (Blocks %s)", g.Group, spanText(g.Blocks))
	if sums {
		fmt.Fprintf(w, " csum 0x%04x [%s]", g.Checksum, strings.Join(g.Flags, ", "))
	}
	fmt.Fprintln(w)
	if g.OwnAtStart > 0 {
		what := "Group descriptors"
		if g.Super {
			what = "Superblock and group descriptors"
		}
		fmt.Fprintf(w, "  %s at %s\n", what, spanText(survey.Span{First: g.Blocks.First,
			Last: g.Blocks.First + g.OwnAtStart - 1}))
	}
	fmt.Fprintf(w, "  Block bitmap at %d, inode bitmap at %d\n", g.BlockBitmap, g.InodeBitmap)
	fmt.Fprintf(w, "  Inode table at %s\n", spanText(g.InodeTable))
	fmt.Fprintf(w, "  %d free blocks, %d free inodes, %d directories", g.FreeBlocks, g.FreeInodes, g.Directories)
	if sums {
		fmt.Fprintf(w, ", %d unused inodes", g.UnusedInodes)
	}
	fmt.Fprintf(w, "\n  Free blocks: %s\n  Free inodes: %s\n", spansText(g.FreeSpans), spansText(g.InodeSpans))
	if g.Problem != "" {
		fmt.Fprintf(w, "  Problem: %s\n", g.Problem)
	}
}

func spanText(s survey.Span) string {
	if s.First == s.Last {
		return fmt.Sprint(s.First)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

func spansText(spans []survey.Span) string {
	var out strings.Builder
	for i, s := range spans {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(spanText(s))
	}
	return out.String()
}

// printGroups prints all block groups. The first problem is the error.
func printGroups(ctx context.Context, w io.Writer, fs *ext4.FS) error {
	out := bufio.NewWriter(w)
	var problem error
	err := survey.Groups(ctx, fs, func(g *survey.Group) error {
		if problem == nil {
			problem = g.Err
		}
		fmt.Fprintln(out)
		printGroup(out, g, fs.Superblock().HasGroupCsum())
		return nil
	})
	if err == nil {
		err = problem
	}
	_ = out.Flush() // the writer below remembers its error
	return err
}

// printJournal prints the journal's state.
func printJournal(w io.Writer, j *survey.Journal) error {
	if j == nil {
		_, err := fmt.Fprintln(w, "\nJournal: none")
		return err
	}
	place := "in inode " + fmt.Sprint(j.Inode)
	if j.Inode == 0 {
		place = "on a device of its own"
	}
	fmt.Fprintf(w, "\nJournal: %s\n", place)
	if j.Blocks > 0 {
		fmt.Fprintf(w, "  Format: superblock of version %d, UUID %s\n", j.Version, j.UUID)
		fmt.Fprintf(w, "  Features: %s\n", orNone(j.Features))
		fmt.Fprintf(w, "  Size: %d blocks of %d bytes, the log from block %d on, %d blocks for fast commits\n", j.Blocks,
			j.BlockSize, j.First, j.FastBlocks)
		fmt.Fprintf(w, "  Sequence: 0x%08x\n  Start: %d\n", j.Sequence, j.Start)
		if j.Errno != 0 {
			fmt.Fprintf(w, "  Errno: %d\n", j.Errno)
		}
		fmt.Fprintf(w, "  Not recovered: %d transactions, %d records of fast commits\n", len(j.Pending), j.FastCommits)
		for _, tx := range j.Pending {
			fmt.Fprintf(w, "    transaction %d: %d blocks, %d revoked\n", tx.Sequence, tx.Blocks, tx.Revoked)
		}
	}
	if j.Problem != "" {
		fmt.Fprintf(w, "  Problem: %s\n", j.Problem)
	}
	return j.Err
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
