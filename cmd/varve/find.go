package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/find"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

func newFind() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "find IMAGE [PATH...] [PREDICATE...]",
		Short: "Find files of an image by their attributes, as find(1) does",
		Long: `Find files by their attributes, with the meaning that find(1) gives to:

  -name -iname -path -ipath PATTERN   -type bcdpfls   -size N[cwbkMG]   -empty
  -mtime -atime -ctime -mmin N   -newermt TIME   -user -group NAME   -uid -gid N
  -perm MODE|-MODE|/MODE   -links N   -inum N   -maxdepth -mindepth N   -true -false
  ! -not   -a -and   -o -or   , ( )   -print -print0 -ls

N is n, +n or -n. -xattr NAME is varve's own: files with this extended attribute, with any for "*".
Options come before IMAGE. A path with characters that a terminal obeys is printed in quotes; -print0
prints paths as they are.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			paths, rest := splitPaths(args[1:])
			e, err := find.Parse(rest, time.Now())
			if err != nil {
				return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
			}
			v, err := openVolume(spec, args[0])
			if err != nil {
				return err
			}
			defer v.Close()
			f := &finder{cmd: cmd, e: e, out: bufio.NewWriter(data(cmd))}
			if asJSON {
				f.list, err = output.BeginList(cmd.OutOrStdout(), "files", output.Field{Name: "image", Value: args[0]})
				if err != nil {
					return err
				}
			}
			var errs []error
			for _, path := range paths {
				n, err := v.Resolve(path, false)
				if err == nil {
					err = f.walk(path, n)
				}
				errs = append(errs, err)
			}
			return errors.Join(append(errs, f.end())...)
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// splitPaths cuts the paths from the predicates behind them, as find(1) does. Without one it is the root.
func splitPaths(args []string) (paths, rest []string) {
	i := 0
	for i < len(args) && !strings.HasPrefix(args[i], "-") && !strings.Contains("(),!", args[i]) {
		i++
	}
	if i == 0 {
		return []string{"/"}, args
	}
	return args[:i], args[i:]
}

// finder is one call of varve find.
type finder struct {
	cmd  *cobra.Command
	e    *find.Expression
	out  *bufio.Writer
	list *output.List // with --json
}

func (f *finder) end() error {
	if f.list != nil {
		return f.list.End()
	}
	return f.out.Flush()
}

// walk tries the expression on a file and all below it.
func (f *finder) walk(path string, n *ext4.Inode) error {
	w := &walker{ctx: f.cmd.Context(), visit: f.visit, level: max(f.e.MaxDepth, 0),
		fail: func(p *place, err error) { fmt.Fprintf(f.cmd.ErrOrStderr(), "varve: %s: %v\n", p.quoted(), err) }}
	if f.e.MaxDepth == 0 {
		return f.visit(&place{name: path}, n)
	}
	return w.walk(path, n)
}

func (f *finder) visit(p *place, n *ext4.Inode) error {
	if p.depth < f.e.MinDepth {
		return nil
	}
	path := p.String()
	file := &find.File{Path: path, Name: p.name, Depth: p.depth, Inode: n}
	if p.up == nil {
		file.Name = topName(p.name)
	}
	return f.e.Match(file, func(a find.Action) error {
		switch {
		case f.list != nil:
			d := newNode(file.Name, n)
			d.Path = path
			return f.list.Add(d)
		case a == find.Print0:
			_, _ = f.out.WriteString(path) // a writer with an error keeps it
			return f.out.WriteByte(0)
		case a == find.List:
			d := newNode(path, n)
			_, err := fmt.Fprintf(f.out, "%9d %6d %s\n", n.Ino, (n.StatBlocks()+1)/2, d.line(n))
			return err
		}
		_, err := fmt.Fprintln(f.out, output.Quote(path))
		return err
	})
}

// topName is the name by which -name knows a path that the search begins with.
func topName(path string) string {
	if b := base(path); b != "/" {
		return b
	}
	return "/"
}
