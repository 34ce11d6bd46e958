package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/pack"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newPack() *cobra.Command {
	var o pack.Options
	var size, owner string
	var mkfs []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pack OUT SOURCE",
		Short: "Make an image of a folder or a tar archive, without root",
		Long: `Make the image OUT with a file system that has all of SOURCE: a folder, or a tar archive, which may be
compressed with gzip, bzip2 or zstd; - is an archive from standard input, and needs --size. Owners, modes, times, hard
links, symlinks, holes, device nodes, extended attributes and ACLs are kept; a user who is not root packs an archive
with them. mkfs.ext4 makes the file system: --fs-options are its arguments ("-O casefold -b 4096").

With --reproducible the image's bytes depend on SOURCE, these options and the versions of varve and mkfs.ext4 alone.
SOURCE_DATE_EPOCH is then the newest time in it.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Out, o.Source = args[0], args[1]
			if size != "auto" {
				if o.Size, err = parseSize(size); err != nil {
					return usageError{err}
				}
			}
			if o.UID, o.GID, err = parseOptionalOwner(owner); err != nil {
				return err
			}
			if len(o.Label) > disk.LabelSize {
				return usageError{fmt.Errorf("the label %q is longer than %d bytes", o.Label, disk.LabelSize)}
			}
			if o.Epoch, err = sourceDate(); err != nil {
				return err
			}
			for _, s := range mkfs {
				o.Mkfs = append(o.Mkfs, strings.Fields(s)...)
			}
			r, err := runPack(cmd, o)
			if err != nil {
				return err
			}
			if asJSON {
				return output.WriteJSON(cmd.OutOrStdout(), map[string]any{
					"schema_version": output.SchemaVersion, "image": o.Out, "size_bytes": r.Size, "uuid": r.UUID,
					"files": r.Files, "directories": r.Directories, "bytes": r.Bytes,
				})
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s: %d bytes, with %d bytes in %d files and %d directories\n", o.Out, r.Size,
				r.Bytes, r.Files, r.Directories)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&size, "size", "auto", "the image's size in bytes, with K, M or G; auto: as the contents need")
	f.StringArrayVar(&mkfs, "fs-options", nil, "further `arguments` of mkfs.ext4")
	f.StringVar(&o.Label, "label", "", "the file system's label")
	f.StringVar(&o.UUID, "uuid", "", "the file system's UUID")
	f.StringVar(&owner, "owner", "", "give all to `UID:GID` instead of to the source's owners")
	f.BoolVar(&o.Reproducible, "reproducible", false, "make the same bytes of the same source")
	f.BoolVarP(&o.Force, "force", "f", false, "replace OUT")
	f.BoolVar(&asJSON, "json", false, "print what was made as JSON")
	return cmd
}

// runPack packs with a progress bar.
func runPack(cmd *cobra.Command, o pack.Options) (pack.Result, error) {
	var bar *progressbar.ProgressBar
	o.Progress = func(done, all uint64) {
		if bar == nil {
			bar = newBar(cmd.ErrOrStderr(), int64(all), "pack")
		}
		_ = bar.Set64(int64(min(done, all)))
	}
	o.Skipped = func(name string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s: a socket, which is left out\n", output.Quote(name))
	}
	r, err := pack.Run(cmd.Context(), o)
	if bar != nil {
		_ = bar.Clear()
	}
	return r, err
}

// sourceDate is the time in SOURCE_DATE_EPOCH (reproducible-builds.org), or zero.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds", text)}
	}
	return time.Unix(seconds, 0), nil
}
