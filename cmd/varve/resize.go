package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

type resizeReport struct {
	SchemaVersion int    `json:"schema_version"`
	Image         string `json:"image"`
	BlockSize     int64  `json:"block_size_bytes"`
	Before        uint64 `json:"blocks_before"`
	Blocks        uint64 `json:"blocks"`
}

func newResize() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "resize IMAGE [SIZE]",
		Short: "Make a file system larger that is not mounted",
		Long: `Make the file system of an image larger, in place, while it is not mounted. SIZE is a number of blocks of
the file system, or with a suffix: s for sectors of 512 bytes, K, M, G or T for powers of 1024. Without it the file
system fills its image or device. An image that is a file is extended where that is needed. A crash at any instant
leaves the file system whole, with the old size, the new one, or one between. To make a file system smaller, use
resize2fs.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return resize(cmd, spec, asJSON, args) },
	}
	placeFlags(cmd, &spec)
	cmd.Flags().StringVar(&spec.Journal, "journal-device", "", "`image` of the external journal")
	cmd.Flags().StringVar(&spec.WAL, "wal", "", "the log in a `file` beside an image without a journal")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func resize(cmd *cobra.Command, spec volume.Spec, asJSON bool, args []string) error {
	var to volume.NewSize
	if len(args) > 1 {
		var err error
		if to, err = parseNewSize(args[1]); err != nil {
			return usageError{err}
		}
	}
	spec.Image = args[0]
	r, err := volume.Resize(cmd.Context(), spec, to, volume.WriteOptions{
		Notice: func(text string) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s\n", text) },
	})
	if err != nil {
		return volume.Advise(err)
	}
	if asJSON {
		return output.WriteJSON(cmd.OutOrStdout(), resizeReport{output.SchemaVersion, args[0], int64(r.BlockSize),
			uint64(r.Before), uint64(r.After)})
	}
	verb := "has now"
	if r.Before == r.After {
		verb = "has already"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s %d blocks of %d bytes\n", output.Quote(args[0]), verb,
		uint64(r.After), r.BlockSize)
	return err
}

// parseNewSize reads a size as resize2fs takes it.
func parseNewSize(s string) (volume.NewSize, error) {
	units := map[byte]uint64{'s': 512, 'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30, 't': 1 << 40}
	to := volume.NewSize{}
	digits := s
	if s != "" {
		if to.Unit = units[s[len(s)-1]|0x20]; to.Unit != 0 {
			digits = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || strings.HasPrefix(s, "+") {
		return to, fmt.Errorf("%q is no size: expected a number of blocks, or one with s, K, M, G or T", s)
	}
	to.Count = n
	return to, nil
}
