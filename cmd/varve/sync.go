package main

import (
	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
)

func newSync() *cobra.Command {
	return &cobra.Command{
		Use:   "sync DIR",
		Short: "Make everything that was done on a read-write mount durable",
		Long: `Make everything that was done on a read-write mount durable. sync(1) and syncfs(2) do not reach a FUSE file
system that was mounted without -o syncfs; fsync of any file or directory does, and makes everything earlier durable,
too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return daemon.Sync(args[0]) },
	}
}
