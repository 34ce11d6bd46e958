package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

func newDu() *cobra.Command {
	var spec volume.Spec
	var u usage
	var summarize, asJSON bool
	cmd := &cobra.Command{
		Use:   "du IMAGE [PATH]",
		Short: "Add up the space that files of an image take, as du(1) does",
		Long: "Add up the space that the files below each directory take, in units of 1,024 bytes. A file with several\n" +
			"names counts once.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if summarize {
				if cmd.Flags().Changed("max-depth") && u.depth != 0 || u.all {
					return usageError{errors.New("--summarize is --max-depth=0, and lists no files (-a)")}
				}
				u.depth = 0
			} else if !cmd.Flags().Changed("max-depth") {
				u.depth = -1
			} else if u.depth < 0 {
				return usageError{errors.New("--max-depth: a depth is not negative")}
			}
			u.out = bufio.NewWriter(data(cmd))
			return withInode(spec, args[0], pathArg(args), false, func(n *ext4.Inode) (err error) {
				if asJSON {
					if u.list, err = output.BeginList(cmd.OutOrStdout(), "usage", output.Field{Name: "image", Value: args[0]},
						output.Field{Name: "apparent_size", Value: u.apparent}); err != nil {
						return err
					}
				}
				w := &walker{ctx: cmd.Context(), visit: u.visit, leave: u.leave, fail: func(p *place, err error) {
					fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s: %v\n", p.quoted(), err)
				}}
				return errors.Join(w.walk(pathArg(args), n), u.end())
			})
		},
	}
	imageFlags(cmd, &spec)
	f := cmd.Flags()
	f.BoolVarP(&summarize, "summarize", "s", false, "show the sum only")
	f.BoolVarP(&u.human, "human-readable", "h", false, "show sizes as 1.5K, 20M and so on")
	f.BoolVarP(&u.all, "all", "a", false, "show files, too")
	f.BoolVar(&u.apparent, "apparent-size", false, "add up the sizes of files, not the space that they take")
	f.IntVarP(&u.depth, "max-depth", "d", -1, "show directories down to this `depth`")
	f.BoolVar(&u.inodes, "inodes", false, "count inodes, not space")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.Bool("help", false, "help for du")
	return cmd
}

// usage is one call of varve du.
type usage struct {
	human, all, apparent, inodes bool
	depth                        int // -1: all

	out  *bufio.Writer
	list *output.List // with --json
	seen map[ext4.Ino]bool
	open []total // of the directories that are being walked
}

// total is what a directory and all below it take.
type total struct {
	Path   string `json:"path"`
	Bytes  uint64 `json:"size_bytes"`
	Inodes uint64 `json:"inodes"`
}

func (u *usage) end() error {
	if u.list != nil {
		return u.list.End()
	}
	return u.out.Flush()
}

// visit counts a file, or begins with a directory.
func (u *usage) visit(p *place, n *ext4.Inode) error {
	if n.Links > 1 && !n.IsDir() {
		if u.seen[n.Ino] {
			return nil
		}
		if u.seen == nil {
			u.seen = map[ext4.Ino]bool{}
		}
		u.seen[n.Ino] = true
	}
	own := total{Bytes: n.StatBlocks() * 512, Inodes: 1}
	if u.apparent {
		own.Bytes = n.StatSize()
	}
	if n.IsDir() {
		u.open = append(u.open, own)
		return nil
	}
	if last := len(u.open) - 1; last >= 0 {
		u.open[last].add(own)
		if !u.all {
			return nil
		}
	}
	return u.show(p, own)
}

func (t *total) add(o total) {
	t.Bytes += o.Bytes
	t.Inodes += o.Inodes
}

// leave shows a directory's sum, and adds it to the one above.
func (u *usage) leave(p *place) error {
	last := len(u.open) - 1
	sum := u.open[last]
	if u.open = u.open[:last]; last > 0 {
		u.open[last-1].add(sum)
	}
	return u.show(p, sum)
}

func (u *usage) show(p *place, t total) error {
	if u.depth >= 0 && p.depth > u.depth {
		return nil
	}
	t.Path = p.String()
	if u.list != nil {
		return u.list.Add(t)
	}
	text := ""
	switch {
	case u.inodes:
		if text = strconv.FormatUint(t.Inodes, 10); u.human {
			text = humanSize(t.Inodes)
		}
	case u.human:
		text = humanSize(t.Bytes)
	default:
		text = strconv.FormatUint(t.Bytes/1024+(t.Bytes%1024+1023)/1024, 10)
	}
	_, err := fmt.Fprintf(u.out, "%s\t%s\n", text, output.Quote(t.Path))
	return err
}

// humanSize is a size as du -h prints it: rounded up, with one digit behind the point where one is before it.
func humanSize(n uint64) string {
	const letters = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	i, unit := 0, uint64(1024)
	for i+1 < len(letters) && n/unit >= 1024 {
		i, unit = i+1, unit*1024
	}
	if tenths := ceilDiv(n, unit, 10); tenths < 100 {
		return fmt.Sprintf("%d.%d%c", tenths/10, tenths%10, letters[i])
	}
	whole := ceilDiv(n, unit, 1)
	if whole == 1024 && i+1 < len(letters) {
		return fmt.Sprintf("1.0%c", letters[i+1])
	}
	return fmt.Sprintf("%d%c", whole, letters[i])
}

// ceilDiv is n/unit in so many parts of a unit, rounded up.
func ceilDiv(n, unit, parts uint64) uint64 {
	return n/unit*parts + (n%unit*parts+unit-1)/unit
}
