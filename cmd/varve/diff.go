package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

func newDiff() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff IMAGE FILE",
		Short: "Show which paths an overlay changes, or in which two images differ",
		Long: "Show which paths an overlay changes: A added, R removed, C changed, T attributes changed. Where FILE is an\n" +
			"image, too, the two are compared by paths: types, contents, targets, modes, owners, attributes, links,\n" +
			"flags and times of modification; what differs is listed behind each path.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			if isImage(spec, args[1]) {
				return diffImages(cmd.Context(), cmd.OutOrStdout(), spec, args[1], asJSON)
			}
			return volume.Advise(diffOverlay(cmd.OutOrStdout(), spec, args[1], asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	placeFlags(cmd, &spec)
	adoptFlag(cmd, &spec)
	return cmd
}

// diffOverlay prints the changes in an overlay as it finds them.
func diffOverlay(out io.Writer, spec volume.Spec, path string, asJSON bool) (err error) {
	if err := volume.FindOverlay(path); err != nil {
		return err
	}
	before, err := volume.Open(spec)
	if err != nil {
		return err
	}
	defer before.Close()
	after, err := volume.OpenOverlay(spec, path, volume.WriteOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, after.Close()) }()
	found, end := changeLines(out, false)
	if asJSON {
		l, err := output.BeginList(out, "changes", output.Field{Name: "image", Value: spec.Image},
			output.Field{Name: "overlay", Value: path})
		if err != nil {
			return err
		}
		found, end = func(c change) error { return l.Add(c) }, l.End
	}
	err = after.View(func(fs *ext4.FS) error { return diff(before.FS, fs, found) })
	return errors.Join(err, end())
}

var changeLetters = map[string]string{"added": "A", "removed": "R", "changed": "C", "attributes": "T"}

// changeLines prints changes as text, a line each, with what changed where details is set.
func changeLines(w io.Writer, details bool) (found func(change) error, end func() error) {
	out := bufio.NewWriter(w)
	return func(c change) error {
		what := ""
		if details && len(c.What) > 0 {
			what = " (" + strings.Join(c.What, ", ") + ")"
		}
		_, err := fmt.Fprintf(out, "%s %s%s\n", changeLetters[c.Kind], output.Quote(c.Path), what)
		return err
	}, out.Flush
}
