package main

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

// editSpec says what a command changes that needs no mount: an image, or an overlay over it.
type editSpec struct {
	volume.Spec
	overlay string
}

// editFlags are the options of all commands that change an image.
func editFlags(cmd *cobra.Command, spec *editSpec) {
	placeFlags(cmd, &spec.Spec)
	f := cmd.Flags()
	f.StringVar(&spec.Journal, "journal-device", "", "`image` of the external journal")
	f.StringVar(&spec.WAL, "wal", "", "the log in a `file` beside an image without a journal")
	f.StringVar(&spec.overlay, "overlay", "", "keep the changes in `FILE`, and leave the image as it is")
}

// editor is an image that is open for a command's changes. They are made as root, to whom an image belongs.
type editor struct {
	*volume.Writable
	cmd *cobra.Command
}

// withEditor opens an image for writing, calls fn, and closes the image: what was done is durable then, also where fn
// failed half-way.
func withEditor(cmd *cobra.Command, spec editSpec, image string, fn func(*editor) error) (err error) {
	spec.Image = image
	options := volume.WriteOptions{
		Notice: func(text string) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s\n", text) },
	}
	var w *volume.Writable
	if spec.overlay != "" {
		w, err = volume.OpenOverlay(spec.Spec, spec.overlay, options)
	} else {
		w, err = volume.OpenWritable(spec.Spec, options)
	}
	if err != nil {
		return volume.Advise(err)
	}
	defer func() {
		if cerr := w.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("%s is left to recovery: %w", image, cerr))
		}
	}()
	return fn(&editor{Writable: w, cmd: cmd})
}

// resolve finds a path. A symlink at its end is followed where follow is set.
func (e *editor) resolve(path string, follow bool) (n ext4.Inode, err error) {
	err = e.View(func(fs *ext4.FS) error {
		found, err := fs.Resolve(path, follow)
		if err == nil {
			n = *found
		}
		return err
	})
	return n, err
}

// parent is the directory that a path's last name is in, and that name.
func (e *editor) parent(name string) (ext4.Node, string, error) {
	up, last := path.Split(strings.TrimRight(name, "/"))
	if last == "" || last == "." || last == ".." {
		return 0, "", fmt.Errorf("%s: a path that ends with a name was expected: %w", output.Quote(name), ext4.ErrInvalid)
	}
	n, err := e.resolve(up, true)
	if err == nil && !n.IsDir() {
		err = fmt.Errorf("%s: %w", output.Quote(up), ext4.ErrNotDir)
	}
	return ext4.NodeOf(&n), last, err
}

// each calls fn for each path, reports what fails, and goes on.
func (e *editor) each(paths []string, fn func(path string) error) error {
	var failures []error
	for _, p := range paths {
		if err := e.cmd.Context().Err(); err != nil {
			return err
		}
		if err := fn(p); err != nil {
			failures = append(failures, withPath(p, err))
		}
	}
	return errors.Join(failures...)
}

// withPath puts a path before an error that does not begin with it; nil stays nil.
func withPath(path string, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), path) {
		return err
	}
	return fmt.Errorf("%s: %w", output.Quote(path), err)
}
