package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// mapping is one run of a file, in blocks.
type mapping struct {
	File   uint64 `json:"file_block"`
	Start  uint64 `json:"image_block"`
	Length uint64 `json:"blocks"`
	Kind   string `json:"kind"` // data, unwritten or hole
}

func newMap() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	var page string
	cmd := &cobra.Command{
		Use:   "map IMAGE PATH | map --html OUT IMAGE",
		Short: "Show where a file's blocks lie, or draw all blocks of an image",
		Long: "Show where a file's blocks lie on the image, which FIEMAP does not show through a mount. With --html a\n" +
			"page is written that shows of each block group what is free, metadata and data, and where fragments begin.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case page != "" && (len(args) > 1 || asJSON):
				return usageError{errors.New("--html draws a whole image, without a path and --json")}
			case page != "":
				spec.Image = args[0]
				return mapImage(cmd.Context(), spec, page)
			case len(args) < 2:
				return usageError{errors.New("name a file of the image, or a page to draw with --html")}
			}
			return withInode(spec, args[0], args[1], false, func(n *ext4.Inode) error {
				found, end := mapLines(cmd.OutOrStdout())
				if asJSON {
					l, err := output.BeginList(cmd.OutOrStdout(), "runs", output.Field{Name: "path", Value: args[1]},
						output.Field{Name: "block_size", Value: uint32(n.FS().Superblock().BlockSize)})
					if err != nil {
						return err
					}
					found, end = func(m mapping) error { return l.Add(m) }, l.End
				}
				return errors.Join(mapFile(cmd.Context(), n, found), end())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&page, "html", "", "draw all blocks of the image as a page, in this `file`")
	imageFlags(cmd, &spec)
	return cmd
}

// mapLines prints runs as text, a line each, as they are found: the few indirect blocks of a crafted file can stand for
// 2^30 runs, which no memory holds.
func mapLines(w io.Writer) (found func(mapping) error, end func() error) {
	const row = "%12v  %12v  %12v  %s\n"
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, row, "file block", "image block", "blocks", "kind")
	return func(m mapping) error {
		_, err := fmt.Fprintf(out, row, m.File, m.Start, m.Length, m.Kind)
		return err
	}, out.Flush
}

// hasBlocks reports whether an inode refers to blocks, and does not itself hold the contents, a short target or a
// device number.
func hasBlocks(n *ext4.Inode) bool {
	if n.Has(disk.InodeInlineData) || n.FS().Superblock().FastSymlink(&n.Inode) {
		return false
	}
	return n.IsRegular() || n.IsDir() || n.IsSymlink()
}

// mapFile finds a file's runs up to its end; neighbours of one kind are one.
func mapFile(ctx context.Context, n *ext4.Inode, found func(mapping) error) error {
	if !hasBlocks(n) {
		return nil
	}
	kinds := map[ext4.Kind]string{ext4.Hole: "hole", ext4.Unwritten: "unwritten", ext4.Data: "data"}
	size := uint64(n.FS().Superblock().BlockSize)
	var last mapping // not yet passed on, where it has a length
	for b, end := uint64(0), n.Size/size+(n.Size%size+size-1)/size; b < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := n.Map(ext4.FileBlock(b))
		if err != nil {
			if last.Length > 0 {
				err = errors.Join(err, found(last))
			}
			return err
		}
		m := mapping{b, uint64(r.Start), min(r.Len, end-b), kinds[r.Kind]}
		b += m.Length
		if last.Length > 0 && last.Kind == m.Kind && (r.Kind == ext4.Hole || last.Start+last.Length == m.Start) {
			last.Length += m.Length
			continue
		}
		if last.Length > 0 {
			if err := found(last); err != nil {
				return err
			}
		}
		last = m
	}
	if last.Length > 0 {
		return found(last)
	}
	return nil
}
