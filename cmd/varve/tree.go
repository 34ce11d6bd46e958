package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
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
			return withInode(spec, args[0], pathArg(args), true, func(n *ext4.Inode) error {
				t := tree{cmd: cmd, level: level}
				if asJSON {
					return t.json(pathArg(args), n)
				}
				return t.print(pathArg(args), n)
			})
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

	failures []error // of symlinks: their names are shown all the same
}

// bad notes that a symlink cannot be read.
func (t *tree) bad(p *place, err error) {
	fmt.Fprintf(t.cmd.ErrOrStderr(), "varve: %s: %v\n", p.quoted(), err)
	if len(t.failures) < maxFailures {
		t.failures = append(t.failures, err)
	}
}

// walk visits the tree; names are by their last part, the top by its path.
func (t *tree) walk(path string, n *ext4.Inode, visit func(p *place, n *ext4.Inode) error,
	leave func(p *place) error) error {
	w := walker{ctx: t.cmd.Context(), visit: visit, leave: leave, level: t.level,
		fail: func(p *place, err error) { fmt.Fprintf(t.cmd.ErrOrStderr(), "varve: %s: %v\n", p.quoted(), err) }}
	err := w.walk(path, n)
	return errors.Join(err, errors.Join(t.failures...))
}

func (t *tree) print(path string, n *ext4.Inode) error {
	return t.walk(path, n, func(p *place, n *ext4.Inode) error {
		suffix := ""
		switch {
		case n.IsDir() && p.name != "/":
			suffix = "/"
		case n.IsSymlink():
			target, err := n.Readlink()
			if suffix = " -> " + output.Quote(target); err != nil {
				suffix = ""
				t.bad(p, err)
			}
		}
		_, err := fmt.Fprintf(t.cmd.OutOrStdout(), "%s%s%s\n", strings.Repeat("  ", p.depth), output.Quote(p.name),
			suffix)
		return err
	}, nil)
}

// json prints the tree as it is walked: each node is closed when all below it is printed.
func (t *tree) json(path string, n *ext4.Inode) error {
	out := bufio.NewWriter(output.Raw(t.cmd.OutOrStdout()))
	fmt.Fprintf(out, "{\n  \"schema_version\": %d,\n  \"root\": ", output.SchemaVersion)
	began := -1 // the depth at which the last node was written: the next one is its child where that is deeper
	indent := func(depth int) string { return strings.Repeat("  ", 1+2*depth) }
	shut := func(p *place) {
		if began > p.depth {
			fmt.Fprintf(out, "\n%s]", indent(p.depth)+"  ")
		}
		fmt.Fprintf(out, "\n%s}", indent(p.depth))
		began = p.depth
	}
	err := t.walk(path, n, func(p *place, n *ext4.Inode) error {
		d := newNode(p.name, n)
		d.Path = p.String()
		if d.err != nil {
			t.bad(p, d.err)
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent(indent(p.depth), "  ")
		if err := e.Encode(d); err != nil {
			return err
		}
		switch {
		case p.depth > 0 && began < p.depth:
			fmt.Fprintf(out, ",\n%s\"children\": [\n%s", indent(p.depth-1)+"  ", indent(p.depth))
		case p.depth > 0:
			fmt.Fprintf(out, ",\n%s", indent(p.depth))
		}
		_, err := out.Write(
			output.EscapeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"+indent(p.depth)+"}\n"))),
		) // stays open
		if began = p.depth; !n.IsDir() {
			shut(p)
		}
		return err
	}, func(p *place) error { shut(p); return nil })
	fmt.Fprint(out, "\n}\n")
	return errors.Join(err, out.Flush())
}
