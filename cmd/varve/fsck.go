package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Exit codes of fsck(8), which varve fsck has instead of its own: 0 clean, 4 errors, 8 the check failed, 16 usage, 32
// interrupted.
const (
	fsckErrors      = 4
	fsckFailed      = 8
	fsckUsage       = 16
	fsckInterrupted = 32
)

// fsckCode is exitCode for varve fsck: in fsck(8) 1 would say that errors were repaired, and 2 that the machine needs a
// restart.
func fsckCode(err error) int {
	var coded codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, new(usageError)):
		return fsckUsage
	case errors.Is(err, context.Canceled):
		return fsckInterrupted
	}
	return fsckFailed
}

type fsckCommand struct {
	spec        volume.Spec
	force, json bool
	no, yes     bool
}

type fsckReport struct {
	SchemaVersion int            `json:"schema_version"`
	Image         string         `json:"image"`
	Clean         bool           `json:"clean"`
	Checked       bool           `json:"checked"` // false where the image says that it is clean and --force was not given
	Problems      []ext4.Problem `json:"problems"`
	More          int            `json:"more_problems"`
	Files         int            `json:"files"`
	Directories   int            `json:"directories"`
	UsedBlocks    uint64         `json:"used_blocks"`
	Journal       int            `json:"blocks_from_journal"`
}

func newFsck() *cobra.Command {
	c := &fsckCommand{}
	cmd := &cobra.Command{
		Use:   "fsck IMAGE",
		Short: "Check a file system, and change nothing",
		Long: `Check a file system: inodes, extents, attributes, directories and their hash trees, link counts, orphans,
bitmaps both ways, counters and checksums. Nothing is changed. The check takes the newest copy of a block from the
journal, so it sees an image that was not unmounted as recovery will leave it.

Exit codes are those of fsck(8): 0 clean, 4 errors, 8 the check failed, 16 usage, 32 interrupted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVarP(&c.force, "force", "f", false, "check even where the image says that it is clean")
	f.BoolVarP(&c.no, "no", "n", false, "change nothing (which is always so)")
	f.BoolVarP(&c.yes, "yes", "y", false, "repair (not there yet)")
	f.BoolVar(&c.json, "json", false, "print JSON")
	imageFlags(cmd, &c.spec)
	return cmd
}

func (c *fsckCommand) run(cmd *cobra.Command, image string) error {
	if c.yes {
		return codedError{errors.New("varve fsck does not repair yet: use e2fsck -fy"), fsckUsage}
	}
	r := fsckReport{SchemaVersion: output.SchemaVersion, Image: image, Problems: []ext4.Problem{}}
	v, err := openVolume(c.spec, image)
	if errors.Is(err, ondisk.ErrCorrupt) {
		r.Checked = true
		r.Problems = append(r.Problems, ext4.Problem{Where: "image", What: err.Error()})
		return c.report(cmd, r)
	}
	if err != nil {
		return err
	}
	defer v.Close()
	super := v.Superblock()
	r.Journal = v.Replayed()
	if !c.force && super.State&disk.StateClean != 0 && super.State&disk.StateErrors == 0 && !v.NeedsRecovery() {
		r.Clean = true
		return c.report(cmd, r)
	}
	bar := newBar(cmd.ErrOrStderr(), 1, "check")
	verdict, err := v.Check(func(done, all int) error {
		step(bar, done, all)
		return cmd.Context().Err()
	})
	_ = bar.Clear()
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	r.Checked, r.Clean, r.More = true, verdict.Clean(), verdict.More
	r.Problems = append(r.Problems, verdict.Problems...)
	r.Files, r.Directories, r.UsedBlocks = verdict.Files, verdict.Directories, verdict.UsedBlocks
	return c.report(cmd, r)
}

func step(bar *progressbar.ProgressBar, done, all int) {
	bar.ChangeMax(all)
	_ = bar.Set(done)
}

// errUnclean ends a check that found errors, which are printed.
var errUnclean = fmt.Errorf("%w: the file system has errors", errPrinted)

func (c *fsckCommand) report(cmd *cobra.Command, r fsckReport) error {
	out := cmd.OutOrStdout()
	if c.json {
		if err := output.WriteJSON(out, r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			fmt.Fprintf(out, "%s: %s\n", p.Where, p.What)
		}
		if r.More > 0 {
			fmt.Fprintf(out, "and %d more\n", r.More)
		}
		switch {
		case !r.Checked:
			fmt.Fprintf(out, "%s: says that it is clean; check it all the same with --force\n", r.Image)
		case r.Clean:
			fmt.Fprintf(out, "%s: clean, %d files (%d directories), %d blocks in use\n",
				r.Image, r.Files, r.Directories, r.UsedBlocks)
		default:
			fmt.Fprintf(out, "%s: %d problems; nothing was changed (e2fsck -fy repairs)\n", r.Image, len(r.Problems)+r.More)
		}
	}
	if !r.Clean {
		return codedError{errUnclean, fsckErrors}
	}
	return nil
}
