package main

import (
	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/volume"
)

func newDiscard() *cobra.Command {
	return &cobra.Command{
		Use:   "discard FILE",
		Short: "Throw the changes in an overlay away",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return volume.DiscardOverlay(args[0]) },
	}
}
