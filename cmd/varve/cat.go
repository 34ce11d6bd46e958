package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

func newCat() *cobra.Command {
	var spec volume.Spec
	cmd := &cobra.Command{
		Use:   "cat IMAGE PATH...",
		Short: "Write files of an image to standard output, without mounting it",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := openVolume(spec, args[0])
			if err != nil {
				return err
			}
			defer v.Close()
			for _, path := range args[1:] {
				n, err := v.Resolve(path, true)
				if err != nil {
					return err
				}
				if !n.IsRegular() {
					return usageError{fmt.Errorf("%s is a %s, not a file", output.Quote(path), newNode("", n).Type)}
				}
				if err := copyContents(cmd, data(cmd), n); err != nil {
					return fmt.Errorf("%s: %w", output.Quote(path), err)
				}
			}
			return nil
		},
	}
	imageFlags(cmd, &spec)
	return cmd
}

const copyChunk = 1 << 20

// copyContents writes a file's contents, and stops when the command is interrupted.
func copyContents(cmd *cobra.Command, w io.Writer, n *ext4.Inode) error {
	r := io.NewSectionReader(n, 0, int64(n.Size))
	buf := make([]byte, min(copyChunk, int(min(n.Size, copyChunk))+1))
	for {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		got, err := r.Read(buf)
		if got > 0 {
			if _, e := w.Write(buf[:got]); e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
