package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
)

// imageFlags are the options that say which file system of an image is meant. All commands that open one have them.
func imageFlags(cmd *cobra.Command, spec *volume.Spec) {
	placeFlags(cmd, spec)
	f := cmd.Flags()
	f.StringVar(&spec.Journal, "journal-device", "", "`image` of the external journal")
	f.StringVar(&spec.WAL, "wal", "", "the log in a `file` beside an image without a journal")
	f.BoolVar(&spec.NoRecovery, "norecovery", false, "do not replay the journal")
}

// placeFlags are the flags that say where on an image the file system is.
func placeFlags(cmd *cobra.Command, spec *volume.Spec) {
	f := cmd.Flags()
	f.StringVar(&spec.Part, "part", "", "partition `N`, or auto for the only one with an ext file system")
	f.Int64Var(&spec.Offset, "offset", 0, "the file system begins at this byte of the image")
}

// openVolume opens the file system of an image for the commands that need no mount.
func openVolume(spec volume.Spec, image string) (*volume.Volume, error) {
	spec.Image = image
	v, err := volume.Open(spec)
	if err != nil {
		return nil, volume.Advise(err)
	}
	return v, nil
}

// withInode opens an image for a command that needs no mount, resolves a path, and calls fn. A symlink at the path's
// end is followed where follow is set.
func withInode(spec volume.Spec, image, path string, follow bool, fn func(*ext4.Inode) error) error {
	v, err := openVolume(spec, image)
	if err != nil {
		return err
	}
	defer v.Close()
	n, err := v.Resolve(path, follow)
	if err != nil {
		return err
	}
	return fn(n)
}

// openStored opens an image for a command that shows what is stored. Where the journal is damaged, the image is opened
// without it, and the damage is returned beside the volume. Without a volume the error is why there is none.
func openStored(spec volume.Spec) (*volume.Volume, error) {
	v, problem := volume.Open(spec)
	if problem == nil || !errors.Is(problem, ondisk.ErrCorrupt) || spec.NoRecovery {
		return v, volume.Advise(problem)
	}
	spec.NoRecovery = true
	v, err := volume.Open(spec)
	if err != nil {
		return nil, volume.Advise(problem)
	}
	return v, volume.Advise(problem)
}

// pathArg is the path within the image, the optional second argument of a command.
func pathArg(args []string) string {
	if len(args) < 2 {
		return "/"
	}
	return args[1]
}

// data is the writer for contents that are written as they are.
func data(cmd *cobra.Command) io.Writer { return output.Raw(cmd.OutOrStdout()) }
