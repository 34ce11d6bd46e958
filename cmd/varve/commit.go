package main

import (
	"fmt"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/volume"
)

func newCommit() *cobra.Command {
	var spec volume.Spec
	cmd := &cobra.Command{
		Use:   "commit IMAGE FILE",
		Short: "Write the changes in an overlay to its image",
		Long: `Write the changes that a mount with --overlay FILE made to the image, and remove the overlay.

A commit that was cut off, at any instant, goes on when it is called again. Until it has ended, the image by itself is
of no use: the overlay keeps all changes until all of them are in the image.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			var bar *progressbar.ProgressBar
			copied, err := volume.CommitOverlay(spec, args[1], func(done, all int64) error {
				if bar == nil {
					bar = newBar(cmd.ErrOrStderr(), all, "commit")
				}
				_ = bar.Set64(done)
				return cmd.Context().Err()
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
	cmd.Flags().
		BoolVar(&spec.Adopt, "adopt", false, "take the overlay although the image was changed since it was made")
}
