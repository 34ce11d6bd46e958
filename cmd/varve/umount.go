package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
)

func newUmount() *cobra.Command {
	var lazy bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "umount DIR",
		Short: "Unmount, and return when the daemon is gone",
		Long: `Unmount a directory that varve mounted, and return when the daemon that served it has ended and released the
image.

A dead mount, whose daemon is gone already, is freed, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := daemon.Unmount(args[0], lazy, timeout); err != nil {
				return &daemon.MountError{Err: err}
			}
			return nil
		},
	}
	cmd.Flags().
		BoolVarP(&lazy, "lazy", "l", false, "detach now even where files are open, and do not wait for the daemon")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for the daemon")
	return cmd
}
