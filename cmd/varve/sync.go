package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newSync() *cobra.Command {
	return &cobra.Command{
		Use:   "sync DIR",
		Short: "Make everything that was done on a read-write mount durable",
		Long: `Make everything that was done on a read-write mount durable. sync(1) and syncfs(2) do not reach a FUSE file system that was mounted without -o syncfs; fsync of any file or directory
does, and makes everything earlier durable, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := resolveMountPoint(args[0])
			if err != nil {
				return err
			}
			info, err := findMount(dir)
			if err != nil {
				return err
			}
			if info == nil || info.fstype != "fuse.varve" && info.fstype != "fuseblk.varve" {
				return fmt.Errorf("%s is no mount of varve's", dir)
			}
			d, err := os.Open(dir)
			if err != nil {
				return err
			}
			defer d.Close()
			return d.Sync()
		},
	}
}
