package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/dump"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// structures are what varve dump shows, and what WHICH is for each.
var structures = []struct{ name, which, what string }{
	{"superblock", "[GROUP]", "the superblock, or its copy in a group"},
	{"group", "GROUP", "the descriptor of a block group"},
	{"inode", "PATH|<INODE>", "an inode"},
	{"extents", "PATH|<INODE>", "the extent tree or the block pointers of an inode"},
	{"dir", "PATH|<INODE>", "the blocks and entries of a directory"},
	{"htree", "PATH|<INODE>", "the hash tree of a directory"},
	{"xattr", "PATH|<INODE>", "the extended attributes of an inode"},
	{"journal", "[BLOCK]", "the journal from its oldest transaction on, or one of its blocks"},
	{"orphans", "", "the inodes that recovery has to finish"},
	{"block", "BLOCK", "a block"},
}

func newDump() *cobra.Command {
	var spec volume.Spec
	var asJSON, asHex bool
	var long strings.Builder
	long.WriteString("Show what is stored, by the names of the kernel's documentation. Damaged structures are shown as\n" +
		"far as they can be, with what is wrong; the exit code is then 11.\n\n")
	for _, s := range structures {
		fmt.Fprintf(&long, "  %-10s  %-13s %s\n", s.name, s.which, s.what)
	}
	long.WriteString("\nAn inode is a path, or its number: as it is, or as <12>.")
	cmd := &cobra.Command{
		Use:   "dump STRUCTURE IMAGE [WHICH]",
		Short: "Show a structure of a file system as it is stored",
		Long:  long.String(),
		Args:  cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &dumper{out: cmd.OutOrStdout(), hex: asHex, kind: args[0]}
			if len(args) > 2 {
				d.which = args[2]
			}
			spec.Image = args[1]
			if err := d.check(); err != nil {
				return err
			}
			if asJSON {
				if err := d.json(spec.Image); err != nil {
					return err
				}
			}
			err := d.run(spec)
			if d.list != nil {
				err = errors.Join(err, d.list.End())
			}
			return errors.Join(err, d.problem)
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVar(&asHex, "hex", false, "show the bytes, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// dumper is one call of varve dump.
type dumper struct {
	out         io.Writer
	list        *output.List // with --json
	hex         bool
	kind, which string
	problem     error // the first that was shown
}

func (d *dumper) json(image string) (err error) {
	d.list, err = output.BeginList(d.out, "records", output.Field{Name: "image", Value: image},
		output.Field{Name: "structure", Value: d.kind}, output.Field{Name: "which", Value: d.which})
	return err
}

// check refuses a structure that there is not, and one that lacks its WHICH or has one too many.
func (d *dumper) check() error {
	for _, s := range structures {
		switch {
		case s.name != d.kind:
			continue
		case s.which == "" && d.which != "":
			return usageError{fmt.Errorf("%s: there is only one (%q is too much)", d.kind, d.which)}
		case s.which != "" && !strings.HasPrefix(s.which, "[") && d.which == "":
			return usageError{fmt.Errorf("%s: name one: varve dump %s IMAGE %s", d.kind, d.kind, s.which)}
		}
		if d.which != "" && !strings.Contains(s.which, "PATH") {
			if _, err := d.number(); err != nil {
				return err
			}
		}
		return nil
	}
	return usageError{fmt.Errorf("no structure is called %q (see varve dump --help)", d.kind)}
}

// found prints a record.
func (d *dumper) found(r *dump.Record) error {
	if d.problem == nil {
		d.problem = problemOf(r)
	}
	if d.list != nil {
		if d.hex {
			r.AddHex()
		}
		return d.list.Add(r)
	}
	return r.Print(d.out, d.hex)
}

// problemOf is the problem of a record: that what is stored is damaged, by whatever decoder.
func problemOf(r *dump.Record) error {
	if r.Err() == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(r.Kind+" "+r.Which), r.Err())
}

func (d *dumper) number() (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(d.which, "<"), ">"), 0, 64)
	if err != nil {
		return 0, usageError{fmt.Errorf("%s: %q is no number", d.kind, d.which)}
	}
	return n, nil
}

// run opens the image as far as the structure needs.
func (d *dumper) run(spec volume.Spec) error {
	if d.kind == "superblock" {
		return d.superblock(spec)
	}
	v, err := openStored(spec)
	if v == nil {
		return err
	}
	defer v.Close()
	d.problem = err
	switch d.kind {
	case "journal":
		if d.which != "" {
			n, _ := d.number()
			return dump.JournalBlock(v.FS, clamp32(n), d.found)
		}
		return dump.Journal(v.FS, d.found)
	case "orphans":
		return dump.Orphans(v.FS, d.found)
	case "group":
		n, _ := d.number()
		return dump.Group(v.FS, disk.Group(clamp32(n)), d.found)
	case "block":
		n, _ := d.number()
		return dump.Block(v.FS, block.Number(n), d.found)
	}
	ino, err := d.inode(v)
	if err != nil {
		return err
	}
	show := map[string]func(*ext4.FS, ext4.Ino, dump.Sink) error{"inode": dump.Inode, "extents": dump.Extents,
		"dir": dump.Dir, "htree": dump.Htree, "xattr": dump.Xattrs}[d.kind]
	return show(v.FS, ino, d.found)
}

// clamp32 makes a number that is too large for 32 bits the largest, which nothing has.
func clamp32(n uint64) uint32 { return uint32(min(n, 1<<32-1)) }

// inode finds the inode that WHICH names: a number, <number> as debugfs has it, or a path. Symlinks at the end are not
// followed.
func (d *dumper) inode(v *volume.Volume) (ext4.Ino, error) {
	if n, err := d.number(); err == nil {
		return ext4.Ino(clamp32(n)), nil
	}
	i := strings.LastIndex(strings.TrimRight(d.which, "/"), "/")
	dir, name := d.which[:i+1], strings.Trim(d.which[i+1:], "/")
	n, err := v.Resolve(dir, true)
	if err != nil || name == "" || name == "." {
		if err != nil {
			return 0, err
		}
		return n.Ino, nil
	}
	ino, err := n.LookupIno(name) // not the inode itself: it may be damaged
	if err != nil {
		return 0, fmt.Errorf("%s: %w", d.which, err)
	}
	return ino, nil
}

// superblock shows the superblock, or a copy: all that is wrong with the rest of the image does not matter.
func (d *dumper) superblock(spec volume.Spec) error {
	v, err := volume.OpenDevice(spec)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := ext4.ReadSuperblock(v.Device, 0)
	if d.which == "" {
		size := block.Size(block.MinSize)
		if err == nil {
			size = s.BlockSize
		}
		return dump.Superblock(v.Device, disk.SuperblockOffset, size, d.found)
	}
	if err != nil {
		return fmt.Errorf("where the copies lie is not known: %w", err)
	}
	n, _ := d.number()
	g := disk.Group(clamp32(n))
	if s.IsJournalDevice() || g >= s.Groups() || !s.HasSuper(g) {
		return fmt.Errorf("group %d has no copy of the superblock: %w", n, ext4.ErrNotExist)
	}
	at := s.BlockSize.Offset(s.GroupFirst(g))
	if g == 0 {
		at = disk.SuperblockOffset
	}
	return dump.Superblock(v.Device, at, s.BlockSize, d.found)
}
