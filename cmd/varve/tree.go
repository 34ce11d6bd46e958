package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
)

func newTree() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	var level int
	cmd := &cobra.Command{
		Use:   "tree IMAGE [PATH]",
		Short: "Show a directory of an image and all below it, without mounting it",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := openVolume(spec, args[0])
			if err != nil {
				return err
			}
			defer v.Close()
			n, err := v.Resolve(pathArg(args), true)
			if err != nil {
				return err
			}
			t := tree{cmd: cmd, level: level}
			if !asJSON {
				return t.print(pathArg(args), n)
			}
			root, err := t.collect(pathArg(args), n)
			if root != nil {
				e := writeJSON(cmd.OutOrStdout(), struct {
					SchemaVersion int   `json:"schema_version"`
					Root          *node `json:"root"`
				}{schemaVersion, root})
				if e != nil {
					return e
				}
			}
			return err
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVarP(&level, "level", "L", 0, "show `N` levels of directories at most")
	return cmd
}

type tree struct {
	cmd   *cobra.Command
	level int
}

// walk visits the tree; names are by their last part, the top by its path.
func (t *tree) walk(path string, n *ext4.Inode, visit func(p, name string, depth int, n *ext4.Inode) error) error {
	w := walker{
		ctx: t.cmd.Context(),
		visit: func(p string, depth int, n *ext4.Inode) error {
			name := base(p)
			if depth == 0 {
				name = path
			}
			if t.level > 0 && depth > t.level {
				return nil
			}
			return visit(p, name, depth, n)
		},
		fail: func(p string, err error) { fmt.Fprintf(t.cmd.ErrOrStderr(), "varve: %s: %v\n", quoteName(p), err) },
	}
	return w.walk(path, n)
}

func (t *tree) print(path string, n *ext4.Inode) error {
	return t.walk(path, n, func(_, name string, depth int, n *ext4.Inode) error {
		suffix := ""
		switch {
		case n.IsDir() && name != "/":
			suffix = "/"
		case n.IsSymlink():
			if target, err := n.Readlink(); err == nil {
				suffix = " -> " + quoteName(target)
			}
		}
		_, err := fmt.Fprintf(t.cmd.OutOrStdout(), "%s%s%s\n", strings.Repeat("  ", depth), quoteName(name), suffix)
		return err
	})
}

func (t *tree) collect(path string, n *ext4.Inode) (*node, error) {
	var open []*node // the directories from the root to the one being walked
	err := t.walk(path, n, func(p, name string, depth int, n *ext4.Inode) error {
		d := newNode(name, n)
		d.Path = p
		open = open[:depth]
		if depth > 0 {
			open[depth-1].Children = append(open[depth-1].Children, d)
		}
		open = append(open, d)
		return nil
	})
	if len(open) == 0 {
		return nil, err
	}
	return open[0], err
}
