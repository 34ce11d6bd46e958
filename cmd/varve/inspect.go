package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/survey"
	"github.com/varvefs/varve/internal/volume"
)

func newInspect() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Describe a file system and its contents on one page",
		Long: "Describe a file system on one page: what it is, what is in it, how full and how fragmented it is, sizes\n" +
			"of files, the largest ones, the journal, and damage that a walk over all names finds (varve fsck -f\n" +
			"finds more).",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			p, err := inspect(cmd.Context(), spec)
			if p == nil {
				return err
			}
			if asJSON {
				return errors.Join(output.WriteJSON(cmd.OutOrStdout(), p), err)
			}
			return errors.Join(p.print(cmd.OutOrStdout()), err)
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// page is what varve inspect shows.
type page struct {
	SchemaVersion int             `json:"schema_version"`
	Info          *imageInfo      `json:"info"`
	Contents      *survey.Files   `json:"contents"`
	FreeSpace     *survey.Free    `json:"free_space"`
	Journal       *survey.Journal `json:"journal,omitempty"`
	Damage        []string        `json:"damage"`
	MoreDamage    int             `json:"more_damage"` // places that are not listed
}

// inspect looks at everything. The error beside a page is of what is wrong with the image.
func inspect(ctx context.Context, spec volume.Spec) (*page, error) {
	info, err := describe(spec)
	if err != nil {
		return nil, err
	}
	v, problem := openStored(spec)
	if v == nil {
		return nil, problem
	}
	defer v.Close()
	info.FeatureList = nil
	p := &page{SchemaVersion: output.SchemaVersion, Info: info, Contents: &survey.Files{}, FreeSpace: &survey.Free{},
		Damage: []string{}}
	errs := []error{problem}
	found := func(err error) {
		if len(p.Damage) < maxFailures {
			p.Damage = append(p.Damage, err.Error())
			errs = append(errs, err)
		} else {
			p.MoreDamage++
		}
	}
	if problem != nil {
		found(problem)
	}
	if p.Journal = survey.JournalOf(v.FS); p.Journal != nil && p.Journal.Err != nil && problem == nil {
		found(p.Journal.Err)
	}
	err = survey.Groups(ctx, v.FS, func(g *survey.Group) error {
		p.FreeSpace.Add(g)
		if g.Err != nil {
			found(g.Err)
		}
		return nil
	})
	if err == nil {
		err = count(ctx, v.FS, p.Contents, found)
	}
	p.FreeSpace.Finish()
	p.Contents.Finish()
	return p, errors.Join(append(errs, err)...)
}

// count walks over all names of an image.
func count(ctx context.Context, fs *ext4.FS, files *survey.Files, found func(error)) error {
	root, err := fs.Inode(ext4.RootIno)
	if err != nil {
		found(err)
		return nil
	}
	named := func(p *place, err error) { found(fmt.Errorf("%s: %w", p.quoted(), err)) }
	w := &walker{ctx: ctx, fail: named, visit: func(p *place, n *ext4.Inode) error {
		if err := files.Add(p.String, n); err != nil {
			named(p, err)
		}
		return nil
	}}
	if err := w.walk("/", root); err != nil && len(w.failures) == 0 {
		return err
	}
	return ctx.Err()
}

// bar draws a share as a bar of 30 characters.
func bar(part, all uint64) string {
	const width = 30
	n := uint64(0)
	if all > 0 {
		n = (part*width + all - 1) / all
	}
	return "[" + strings.Repeat("#", int(min(n, width))) + strings.Repeat(".", width-int(min(n, width))) + "]"
}

// percent is a share in words.
func percent(part, all uint64) string {
	if all == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(all))
}

func (p *page) print(w io.Writer) error {
	i, c, f := p.Info, p.Contents, p.FreeSpace
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	size := func(blocks uint64) string { return humanSize(blocks * uint64(i.BlockSize)) }
	used, inodes := i.Blocks-min(f.Blocks, i.Blocks), uint64(i.Inodes-min(i.FreeInodes, i.Inodes))
	row("image", "%s", output.Quote(i.Image))
	row("what", "%s, label %s, UUID %s, %d blocks of %d bytes in %d groups", i.Type, output.Quote(orNone(i.Label)), i.UUID,
		i.Blocks, i.BlockSize, i.Groups)
	row("state", "%s; varve reads it: %t, writes to it: %s", i.State, i.Readable, i.Writable)
	row("journal", "%s", p.journal())
	row("space", "%s %s of %s in use, %s free, %s reserved", bar(used, i.Blocks), percent(used, i.Blocks), size(i.Blocks),
		size(f.Blocks), size(i.ReservedBlocks))
	row("inodes", "%s %s of %d in use", bar(inodes, uint64(i.Inodes)), percent(inodes, uint64(i.Inodes)), i.Inodes)
	row("contents", "%d files, %d directories, %d symlinks, %d others; %d names", c.Files, c.Directories, c.Symlinks,
		c.Others, c.Names)
	row("", "files have %s, all takes %s", humanSize(c.Bytes), humanSize(c.Allocated))
	row("fragments", "%d of %d files in several pieces (%s), %d pieces in all", c.Fragmented, c.Files,
		percent(c.Fragmented, c.Files), c.Extents)
	row("free space", "%d pieces, the largest has %s", f.Spans, size(f.Largest))
	if err := t.Flush(); err != nil {
		return err
	}
	chart(w, "files by size in bytes", c.Sizes)
	chart(w, "files by pieces", c.PerFile)
	chart(w, "pieces of free space by blocks", f.PerSpan)
	if len(c.Largest) > 0 {
		fmt.Fprintln(w, "\nlargest files")
	}
	for _, l := range c.Largest {
		fmt.Fprintf(w, "  %6s  %s\n", humanSize(l.Bytes), output.Quote(l.Path))
	}
	return p.printDamage(w)
}

func (p *page) printDamage(w io.Writer) error {
	if len(p.Damage) == 0 {
		_, err := fmt.Fprintln(w, "\nno damage was found")
		return err
	}
	fmt.Fprintln(w, "\ndamage")
	for _, d := range p.Damage {
		fmt.Fprintf(w, "  %s\n", d)
	}
	var err error
	if p.MoreDamage > 0 {
		_, err = fmt.Fprintf(w, "  and %d more\n", p.MoreDamage)
	}
	return err
}

// journal is the journal's state in words.
func (p *page) journal() string {
	switch j := p.Journal; {
	case j == nil:
		return "none"
	case j.Blocks == 0:
		return "cannot be read"
	case j.Start == 0:
		return fmt.Sprintf("%d blocks, nothing to recover", j.Blocks)
	default:
		return fmt.Sprintf("%d blocks, not recovered: %d transactions, %d records of fast commits", j.Blocks,
			len(j.Pending), j.FastCommits)
	}
}

// chart prints a histogram.
func chart(w io.Writer, title string, buckets []survey.Bucket) {
	if len(buckets) == 0 {
		return
	}
	most := uint64(1)
	for _, b := range buckets {
		most = max(most, b.Count)
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, b := range buckets {
		length := int((b.Count*40 + most - 1) / most)
		fmt.Fprintf(w, "  up to %6s  %8d  %s\n", humanSize(b.UpTo), b.Count, strings.Repeat("#", length))
	}
}
