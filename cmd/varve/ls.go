package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
)

func newLs() *cobra.Command {
	var spec volume.Spec
	var long, all, asJSON bool
	cmd := &cobra.Command{
		Use:   "ls IMAGE [PATH]",
		Short: "List a directory of an image, without mounting it",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := pathArg(args)
			return withInode(spec, args[0], path, true, func(n *ext4.Inode) error {
				l, err := list(n, path, all)
				if asJSON {
					return errors.Join(output.WriteJSON(cmd.OutOrStdout(), l), err)
				}
				for _, e := range l.entries {
					switch {
					case !long:
						_, _ = fmt.Fprintln(cmd.OutOrStdout(), output.Quote(e.node.Name))
					case e.inode == nil:
						_, _ = fmt.Fprintf(cmd.OutOrStdout(), "?????????? %s: %s\n", output.Quote(e.node.Name),
							e.node.Error)
					default:
						_, _ = fmt.Fprintln(cmd.OutOrStdout(), e.node.line(e.inode))
					}
				}
				return err
			})
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show mode, links, owner, size and time, too")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show . and .., too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listing is a directory as varve ls shows it.
type listing struct {
	SchemaVersion int     `json:"schema_version"`
	Path          string  `json:"path"`
	Entries       []*node `json:"entries"`

	entries  []listed
	failures []error // of the first names that cannot be read whole
}

type listed struct {
	node  *node
	inode *ext4.Inode // nil where it cannot be read
}

// list reads a directory, sorted by name; a file is listed as itself. Of a damaged directory, what can be read is
// returned beside the errors; a name whose inode, or whose target, cannot be read has its own in its node.
func list(n *ext4.Inode, path string, all bool) (*listing, error) {
	l := &listing{SchemaVersion: output.SchemaVersion, Path: path, Entries: []*node{}}
	if !n.IsDir() {
		l.add(listed{newNode(base(path), n), n})
		return l, errors.Join(l.failures...)
	}
	entries, err := readDir(n)
	for _, e := range entries {
		if (e.name == "." || e.name == "..") && !all {
			continue
		}
		child, childErr := n.FS().Inode(e.ino)
		if e.name != "." && e.name != ".." {
			child, childErr = n.Child(e.name, e.ino)
		}
		if childErr != nil {
			bad := &node{Name: e.name, Inode: uint32(e.ino)}
			bad.damaged(childErr)
			l.add(listed{bad, nil})
			continue
		}
		l.add(listed{newNode(e.name, child), child})
	}
	return l, errors.Join(err, errors.Join(l.failures...))
}

func (l *listing) add(e listed) {
	if e.node.err != nil && len(l.failures) < maxFailures {
		l.failures = append(l.failures, fmt.Errorf("%s: %w", output.Quote(e.node.Name), e.node.err))
	}
	l.entries = append(l.entries, e)
	l.Entries = append(l.Entries, e.node)
}

// entry is one name of a directory.
type entry struct {
	name string
	ino  ext4.Ino
}

// readDir reads all names of a directory, sorted. A name that is there twice ends it: a crafted directory may have the
// same blocks again and again.
func readDir(n *ext4.Inode) ([]entry, error) {
	var out []entry
	var twice error
	seen := map[string]bool{}
	err := n.ReadDir(0, func(e ext4.Dirent) bool {
		if seen[string(e.Name)] {
			twice = ondisk.Corruptf(fmt.Sprintf("inode %d", n.Ino),
				"name %q is there twice; the names behind it are not read", e.Name)
			return false
		}
		name := string(e.Name)
		seen[name] = true
		out = append(out, entry{name, e.Ino})
		return true
	})
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out, errors.Join(err, twice)
}
