package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

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
	cmd := &cobra.Command{
		Use:   "map IMAGE PATH",
		Short: "Show where a file's blocks lie",
		Long:  "Show where a file's blocks lie on the image, which FIEMAP cannot tell through a mount.",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := openVolume(spec, args[0])
			if err != nil {
				return err
			}
			defer v.Close()
			n, err := v.Resolve(args[1], false)
			if err != nil {
				return err
			}
			r := mapPrinter{out: bufio.NewWriter(cmd.OutOrStdout())}
			if asJSON {
				r = mapPrinter{out: bufio.NewWriter(output.Raw(cmd.OutOrStdout())), json: true}
			}
			if err := r.head(args[1], uint32(v.Superblock().BlockSize)); err != nil {
				return err
			}
			err = mapFile(cmd.Context(), n, r.run)
			return errors.Join(err, r.tail())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	imageFlags(cmd, &spec)
	return cmd
}

// mapPrinter prints runs as they are found: the few indirect blocks of a crafted file can stand for 2^30 runs, which no memory holds.
type mapPrinter struct {
	out   *bufio.Writer
	json  bool
	count int
}

const mapRow = "%12s  %12s  %12s  %s\n"

func (r *mapPrinter) head(path string, blockSize uint32) error {
	if !r.json {
		_, err := fmt.Fprintf(r.out, mapRow, "file block", "image block", "blocks", "kind")
		return err
	}
	p, err := json.Marshal(path)
	if err == nil {
		_, err = fmt.Fprintf(r.out, "{\n  \"schema_version\": %d,\n  \"path\": %s,\n  \"block_size\": %d,\n  \"runs\": [", output.SchemaVersion, output.EscapeJSON(p), blockSize)
	}
	return err
}

func (r *mapPrinter) run(m mapping) error {
	if !r.json {
		number := func(n uint64) string { return strconv.FormatUint(n, 10) }
		_, err := fmt.Fprintf(r.out, mapRow, number(m.File), number(m.Start), number(m.Length), m.Kind)
		return err
	}
	p, err := json.MarshalIndent(m, "    ", "  ")
	if err != nil {
		return err
	}
	comma := ","
	if r.count++; r.count == 1 {
		comma = ""
	}
	_, err = fmt.Fprintf(r.out, "%s\n    %s", comma, p)
	return err
}

func (r *mapPrinter) tail() error {
	if r.json {
		if r.count > 0 {
			fmt.Fprint(r.out, "\n  ")
		}
		fmt.Fprint(r.out, "]\n}\n")
	}
	return r.out.Flush()
}

// hasBlocks reports whether an inode refers to blocks, and does not itself hold the contents, a short target or a device number.
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
