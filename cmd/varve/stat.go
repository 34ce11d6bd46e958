package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/posixacl"
	"github.com/varvefs/varve/internal/volume"
)

func newStat() *cobra.Command {
	var spec volume.Spec
	var asJSON, follow bool
	cmd := &cobra.Command{
		Use:   "stat IMAGE PATH",
		Short: "Show the inode of a file of an image, without mounting it",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withInode(spec, args[0], args[1], follow, func(n *ext4.Inode) error {
				d := newNode(base(args[1]), n)
				d.Path = args[1]
				d.addXattrs(n)
				var err error
				if asJSON {
					err = output.WriteJSON(cmd.OutOrStdout(), struct {
						SchemaVersion int `json:"schema_version"`
						*node
					}{output.SchemaVersion, d})
				} else {
					err = d.print(cmd.OutOrStdout())
				}
				return errors.Join(err, d.err)
			})
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVarP(&follow, "dereference", "L", false, "follow a symlink at the path's end")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (d *node) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(t, "%s:\t%s\n", name, value) }
	row("Path", output.Quote(d.Path))
	row("Inode", fmt.Sprintf("%d (generation %d)", d.Inode, d.Generation))
	row("Type", d.Type)
	row("Mode", d.Mode)
	row("Owner", fmt.Sprintf("%d:%d", d.UID, d.GID))
	row("Size", fmt.Sprintf("%d bytes, %d units of 512", d.Size, d.Blocks))
	row("Links", strconv.Itoa(int(d.Links)))
	row("Flags", d.Flags)
	row("Project", strconv.FormatUint(uint64(d.ProjectID), 10))
	if d.Device != "" {
		row("Device", d.Device)
	}
	if d.Target != nil {
		row("Target", output.Quote(*d.Target))
	}
	row("Accessed", d.Atime.Format(time.RFC3339Nano))
	row("Modified", d.Mtime.Format(time.RFC3339Nano))
	row("Changed", d.Ctime.Format(time.RFC3339Nano))
	if d.Crtime != nil {
		row("Created", d.Crtime.Format(time.RFC3339Nano))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Xattrs)) {
		value := strconv.Quote(string(d.Xattrs[name]))
		if _, ok := posixacl.Records[name]; ok {
			if text, err := posixacl.Text(d.Xattrs[name]); err == nil {
				value = text
			}
		}
		row("Attribute", name+" = "+value)
	}
	if d.Error != "" {
		row("Error", d.Error)
	}
	return t.Flush()
}
