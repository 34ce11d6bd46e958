package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
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
				return advise(err)
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
			changes, err := diffOverlay(spec, args[1])
			if err != nil {
				return advise(err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), diffReport{schemaVersion, args[0], args[1], changes})
			}
			letters := map[string]string{"added": "A", "removed": "R", "changed": "C", "attributes": "T"}
			for _, c := range changes {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", letters[c.Kind], c.Path)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	placeFlags(cmd, &spec)
	adoptFlag(cmd, &spec)
	return cmd
}

type diffReport struct {
	SchemaVersion int           `json:"schema_version"`
	Image         string        `json:"image"`
	Overlay       string        `json:"overlay"`
	Changes       []ext4.Change `json:"changes"`
}

func diffOverlay(spec volume.Spec, path string) (changes []ext4.Change, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	before, err := volume.Open(spec)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := volume.OpenOverlay(spec, path, volume.WriteOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, after.Close()) }()
	err = after.View(func(fs *ext4.FS) error {
		changes, err = ext4.Diff(before.FS, fs)
		return err
	})
	return changes, err
}
