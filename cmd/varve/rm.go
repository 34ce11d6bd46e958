package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
)

func newRm() *cobra.Command {
	var spec editSpec
	var recursive, force bool
	cmd := &cobra.Command{
		Use:   "rm IMAGE PATH...",
		Short: "Remove files of an image, without mounting it",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withEditor(cmd, spec, args[0], func(e *editor) error {
				return e.each(args[1:], func(path string) error {
					err := e.remove(path, recursive)
					if force && errors.Is(err, ext4.ErrNotExist) {
						return nil
					}
					return err
				})
			})
		},
	}
	editFlags(cmd, &spec)
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "remove directories, and all in them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "a path that is not there is no error")
	return cmd
}

// remove removes a name. A directory goes with all below it where that is asked for; a symlink is not followed.
func (e *editor) remove(path string, recursive bool) error {
	parent, name, err := e.parent(path)
	if err != nil {
		return err
	}
	n, err := e.resolve(path, false)
	switch {
	case err != nil:
		return err
	case !n.IsDir():
		return e.EvictRemoved(e.Unlink(ext4.Cred{}, parent, name))
	case !recursive:
		return fmt.Errorf("%s: %w (rm -r removes directories)", output.Quote(path), ext4.ErrIsDir)
	}
	if err := e.empty(ext4.NodeOf(&n)); err != nil {
		return err
	}
	return e.EvictRemoved(e.Rmdir(ext4.Cred{}, parent, name))
}

// empty removes all below a directory, the innermost first. The way down is a list, as a tree may be deep.
func (e *editor) empty(top ext4.Node) error {
	type level struct {
		dir     ext4.Node
		name    string // in the level above
		entries []child
	}
	entries, err := e.children(top)
	if err != nil {
		return err
	}
	for open := []level{{dir: top, entries: entries}}; ; {
		if err := e.cmd.Context().Err(); err != nil {
			return err
		}
		at := &open[len(open)-1]
		if len(at.entries) == 0 {
			name := at.name
			if open = open[:len(open)-1]; len(open) == 0 {
				return nil
			}
			if err := e.EvictRemoved(e.Rmdir(ext4.Cred{}, open[len(open)-1].dir, name)); err != nil {
				return err
			}
			continue
		}
		c := at.entries[0]
		at.entries = at.entries[1:]
		if c.dir {
			entries, err := e.children(c.node)
			if err != nil {
				return err
			}
			open = append(open, level{c.node, c.name, entries})
		} else if err := e.EvictRemoved(e.Unlink(ext4.Cred{}, at.dir, c.name)); err != nil {
			return err
		}
	}
}

// child is an entry of a directory.
type child struct {
	name string
	node ext4.Node
	dir  bool
}

// children are the entries of a directory but "." and "..".
func (e *editor) children(dir ext4.Node) (out []child, err error) {
	err = e.View(func(fs *ext4.FS) error {
		var n ext4.Inode
		if err := fs.ReadNode(&n, dir); err != nil {
			return err
		}
		entries, err := readDir(&n)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if entry.name == "." || entry.name == ".." {
				continue
			}
			c, err := n.Child(entry.name, entry.ino)
			if err != nil {
				return err
			}
			out = append(out, child{entry.name, ext4.NodeOf(c), c.IsDir()})
		}
		return nil
	})
	return out, err
}
