package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

// mapping is one run of a file, in blocks.
type mapping struct {
	File   uint64 `json:"file_block"`
	Start  uint64 `json:"image_block"`
	Length uint64 `json:"blocks"`
	Kind   string `json:"kind"` // data, unwritten or hole
}

type mapReport struct {
	SchemaVersion int       `json:"schema_version"`
	Path          string    `json:"path"`
	BlockSize     uint32    `json:"block_size"`
	Runs          []mapping `json:"runs"`
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
			r := mapReport{SchemaVersion: output.SchemaVersion, Path: args[1], BlockSize: uint32(v.Superblock().BlockSize)}
			if r.Runs, err = mapFile(n); err != nil {
				return err
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), r)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "file block\timage block\tblocks\tkind\t")
			for _, m := range r.Runs {
				fmt.Fprintf(w, "%d\t%d\t%d\t%s\t\n", m.File, m.Start, m.Length, m.Kind)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	imageFlags(cmd, &spec)
	return cmd
}

// mapFile lists a file's runs up to its end; neighbours of one kind are one.
func mapFile(n *ext4.Inode) ([]mapping, error) {
	kinds := map[ext4.Kind]string{ext4.Hole: "hole", ext4.Unwritten: "unwritten", ext4.Data: "data"}
	size := uint64(n.FS().Superblock().BlockSize)
	out := []mapping{}
	for b, end := uint64(0), (n.Size+size-1)/size; b < end; {
		r, err := n.Map(ext4.FileBlock(b))
		if err != nil {
			return out, err
		}
		m := mapping{b, uint64(r.Start), min(r.Len, end-b), kinds[r.Kind]}
		b += m.Length
		if k := len(out) - 1; k >= 0 && out[k].Kind == m.Kind && (r.Kind == ext4.Hole || out[k].Start+out[k].Length == m.Start) {
			out[k].Length += m.Length
			continue
		}
		out = append(out, m)
	}
	return out, nil
}
