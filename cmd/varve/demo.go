package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/demo"
)

func newDemo() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Make an image with mkfs.ext4, mount it, verify every byte; then write to it, kill the mount, and recover",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "varve-demo-")
			if err != nil {
				return err
			}
			if !keep {
				defer os.RemoveAll(dir)
			}
			d := demo.Demo{Program: self, Dir: dir, Out: cmd.OutOrStdout()}
			return d.Run()
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the folder with the image")
	return cmd
}
