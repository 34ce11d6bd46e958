package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

func newCommit() *cobra.Command {
	var spec volume.Spec
	cmd := &cobra.Command{
		Use:   "commit IMAGE FILE",
		Short: "Write the changes in an overlay to its image",
		Long: `Write the changes that a mount with --overlay FILE made to the image, and remove the overlay.

It may be cut off at any instant, and called again. Until it has ended, the image by itself is of no use: the overlay keeps everything until all of it is in the
image.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			var bar *progressbar.ProgressBar
			copied, err := volume.CommitOverlay(spec, args[1], func(done, all int64) {
				if bar == nil {
					bar = newBar(cmd.ErrOrStderr(), all, "commit")
				}
				_ = bar.Set64(done)
			}, func(notice string) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s\n", notice) })
			if bar != nil {
				_ = bar.Clear()
			}
			if err != nil {
				return volume.Advise(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "varve: %d bytes of changes are in %s\n", copied, args[0])
			return nil
		},
	}
	placeFlags(cmd, &spec)
	adoptFlag(cmd, &spec)
	return cmd
}

// adoptFlag is for an image that changed below its overlay.
func adoptFlag(cmd *cobra.Command, spec *volume.Spec) {
	cmd.Flags().BoolVar(&spec.Adopt, "adopt", false, "take the overlay although the image was changed since it was made")
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// newBar is a progress bar on a terminal, and nothing elsewhere.
func newBar(w io.Writer, all int64, what string) *progressbar.ProgressBar {
	w = output.Raw(w) // it moves the cursor
	if f, ok := w.(*os.File); !ok || !isTerminal(f) {
		w = io.Discard
	}
	return progressbar.NewOptions64(all, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true))
}

func newDiscard() *cobra.Command {
	return &cobra.Command{
		Use:   "discard FILE",
		Short: "Throw the changes in an overlay away",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return volume.DiscardOverlay(args[0]) },
	}
}

func newDiff() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff IMAGE FILE",
		Short: "Show which paths an overlay changes",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			r := diffPrinter{out: bufio.NewWriter(cmd.OutOrStdout())}
			if asJSON {
				r = diffPrinter{out: bufio.NewWriter(output.Raw(cmd.OutOrStdout())), json: true}
			}
			return volume.Advise(diffOverlay(spec, args[1], &r))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	placeFlags(cmd, &spec)
	adoptFlag(cmd, &spec)
	return cmd
}

// diffPrinter prints changes as they are found.
type diffPrinter struct {
	out   *bufio.Writer
	json  bool
	count int
}

// head and tail are what stands around the changes, as JSON: schema_version, image, overlay, changes.
func (r *diffPrinter) head(image, overlay string) error {
	if !r.json {
		return nil
	}
	var p [2][]byte
	for i, name := range []string{image, overlay} {
		var err error
		if p[i], err = json.Marshal(name); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(r.out, "{\n  \"schema_version\": %d,\n  \"image\": %s,\n  \"overlay\": %s,\n  \"changes\": [", output.SchemaVersion, output.EscapeJSON(p[0]), output.EscapeJSON(p[1]))
	return err
}

func (r *diffPrinter) tail() error {
	if r.json {
		if r.count > 0 {
			fmt.Fprint(r.out, "\n  ")
		}
		fmt.Fprint(r.out, "]\n}\n")
	}
	return r.out.Flush()
}

var changeLetters = map[string]string{"added": "A", "removed": "R", "changed": "C", "attributes": "T"}

func (r *diffPrinter) change(c change) error {
	if !r.json {
		_, err := fmt.Fprintf(r.out, "%s %s\n", changeLetters[c.Kind], output.Quote(c.Path))
		return err
	}
	p, err := json.MarshalIndent(c, "    ", "  ")
	if err != nil {
		return err
	}
	if r.count++; r.count > 1 {
		fmt.Fprint(r.out, ",")
	}
	_, err = fmt.Fprintf(r.out, "\n    %s", output.EscapeJSON(p))
	return err
}

func diffOverlay(spec volume.Spec, path string, r *diffPrinter) (err error) {
	if _, err := os.Stat(path); err != nil {
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
	if err := r.head(spec.Image, path); err != nil {
		return err
	}
	if err := after.View(func(fs *ext4.FS) error { return diff(before.FS, fs, r.change) }); err != nil {
		return errors.Join(err, r.out.Flush())
	}
	return r.tail()
}
