package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

type quotaCommand struct {
	spec  volume.Spec
	types [disk.QuotaTypes]bool
	json  bool
}

type quotaReport struct {
	SchemaVersion int           `json:"schema_version"`
	Image         string        `json:"image"`
	Quotas        []quotaOfType `json:"quotas"`
}

type quotaOfType struct {
	Type       string    `json:"type"`
	SpaceGrace uint32    `json:"space_grace_seconds"`
	InodeGrace uint32    `json:"inode_grace_seconds"`
	Entries    []quotaOf `json:"entries"`
}

// quotaOf is the usage and the limits of an id. Limits are 0 where there are none.
type quotaOf struct {
	ID        uint32     `json:"id"`
	Space     uint64     `json:"space_bytes"`
	SpaceSoft uint64     `json:"space_soft_bytes"`
	SpaceHard uint64     `json:"space_hard_bytes"`
	SpaceEnds *time.Time `json:"space_grace_ends,omitempty"`
	Inodes    uint64     `json:"inodes"`
	InodeSoft uint64     `json:"inode_soft"`
	InodeHard uint64     `json:"inode_hard"`
	InodeEnds *time.Time `json:"inode_grace_ends,omitempty"`
}

func newQuota() *cobra.Command {
	c := &quotaCommand{}
	cmd := &cobra.Command{
		Use:   "quota IMAGE|DIR [ID]",
		Short: "Show the usage and the limits of users, groups and projects",
		Long: `Show what each user, group and project uses and may use, of an image or of a read-write mount, if the image
has the feature quota. Without -u, -g or -p all types that the image has are shown; with an ID, that one.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	imageFlags(cmd, &c.spec)
	typeFlags(cmd, &c.types)
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	set := newQuotaSet()
	set.Args = usageArgs(set.Args)
	cmd.AddCommand(set)
	return cmd
}

// typeFlags are the flags that name types of quotas.
func typeFlags(cmd *cobra.Command, types *[disk.QuotaTypes]bool) {
	for t, letter := range []string{"u", "g", "p"} {
		name := disk.QuotaType(t).String()
		cmd.Flags().BoolVarP(&types[t], name, letter, false, "quotas of "+name+"s")
	}
}

func parseQuotaID(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 1<<32-1 {
		return 0, usageError{fmt.Errorf("%q: expected an id, a number", s)}
	}
	return uint32(v), nil
}

func (c *quotaCommand) run(cmd *cobra.Command, args []string) error {
	var only *uint32
	if len(args) > 1 {
		id, err := parseQuotaID(args[1])
		if err != nil {
			return err
		}
		only = &id
	}
	reports, err := c.read(args[0])
	if err != nil {
		return err
	}
	r := quotaReport{SchemaVersion: output.SchemaVersion, Image: args[0], Quotas: []quotaOfType{}}
	for _, q := range reports {
		if c.types[q.Type] || c.types == [disk.QuotaTypes]bool{} {
			r.Quotas = append(r.Quotas, describeQuotas(q, only))
		}
	}
	if len(r.Quotas) == 0 {
		return fmt.Errorf("%s: the image keeps no such quotas", output.Quote(args[0]))
	}
	if c.json {
		return output.WriteJSON(cmd.OutOrStdout(), r)
	}
	return r.print(cmd.OutOrStdout(), time.Now())
}

// read reads the quotas of an image, or asks the daemon of a mount.
func (c *quotaCommand) read(image string) ([]*ext4.QuotaReport, error) {
	if info, err := os.Stat(image); err == nil && info.IsDir() {
		q, err := daemon.AskQuotas(image)
		if err != nil {
			return nil, err
		}
		return q.Reports, nil
	}
	v, err := openVolume(c.spec, image)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.AllQuotas()
}

func describeQuotas(q *ext4.QuotaReport, only *uint32) quotaOfType {
	out := quotaOfType{Type: q.Type.String(), SpaceGrace: q.SpaceGrace, InodeGrace: q.InodeGrace, Entries: []quotaOf{}}
	ends := func(t int64) *time.Time {
		if t == 0 {
			return nil
		}
		at := time.Unix(t, 0).UTC()
		return &at
	}
	for _, d := range q.Entries {
		if only != nil && d.ID != *only {
			continue
		}
		out.Entries = append(out.Entries, quotaOf{
			ID:        d.ID,
			Space:     d.Space,
			SpaceSoft: d.SpaceSoft * disk.QuotaUnit,
			SpaceHard: d.SpaceHard * disk.QuotaUnit,
			SpaceEnds: ends(d.SpaceTime),
			Inodes:    d.Inodes,
			InodeSoft: d.InodeSoft,
			InodeHard: d.InodeHard,
			InodeEnds: ends(d.InodeTime),
		})
	}
	return out
}

// print prints a table a type. Space is in KiB, as limits are.
func (r *quotaReport) print(out io.Writer, now time.Time) error {
	for _, q := range r.Quotas {
		if len(q.Entries) == 0 {
			continue
		}
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(w, "%s\tKiB\tsoft\thard\tgrace\tinodes\tsoft\thard\tgrace\t\n", q.Type)
		for _, e := range q.Entries {
			fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%s\t\n", e.ID, (e.Space+1023)/1024, e.SpaceSoft/1024,
				e.SpaceHard/1024, graceLeft(e.SpaceEnds, now), e.Inodes, e.InodeSoft, e.InodeHard, graceLeft(e.InodeEnds, now))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// graceLeft is the time until a soft limit is as a hard one.
func graceLeft(ends *time.Time, now time.Time) string {
	switch {
	case ends == nil:
		return "-"
	case !ends.After(now):
		return "none"
	case ends.Sub(now) >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(ends.Sub(now).Hours()/24))
	}
	return ends.Sub(now).Round(time.Minute).String()
}

// newQuotaSet sets limits of an image that is not mounted.
func newQuotaSet() *cobra.Command {
	var spec editSpec
	var types [disk.QuotaTypes]bool
	values := map[string]string{}
	flags := []struct{ name, help string }{
		{"soft", "soft limit of space, a `SIZE` in bytes, or with K, M or G; 0: none"},
		{"hard", "hard limit of space, a `SIZE`"},
		{"inodes-soft", "soft limit of inodes, a `NUMBER`"},
		{"inodes-hard", "hard limit of inodes, a `NUMBER`"},
	}
	cmd := &cobra.Command{
		Use:   "set IMAGE ID",
		Short: "Set limits of a user, group or project of an image, without mounting it",
		Long: `Set limits of a user (-u), group (-g) or project (-p) of an image with the feature quota that is not mounted.
Limits that are not named stay as they are. Space is counted in units of 1 KiB.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, f := range flags {
				if cmd.Flags().Changed(f.name) {
					values[f.name], _ = cmd.Flags().GetString(f.name)
				}
			}
			return setQuotas(cmd, spec, types, values, args)
		},
	}
	editFlags(cmd, &spec)
	typeFlags(cmd, &types)
	for _, f := range flags {
		cmd.Flags().String(f.name, "", f.help)
	}
	return cmd
}

func setQuotas(
	cmd *cobra.Command, spec editSpec, types [disk.QuotaTypes]bool, values map[string]string, args []string,
) error {
	id, err := parseQuotaID(args[1])
	if err != nil {
		return err
	}
	l, err := parseLimits(values)
	if err != nil {
		return usageError{err}
	}
	if types == ([disk.QuotaTypes]bool{}) {
		return usageError{errors.New("-u, -g or -p was expected")}
	}
	return withEditor(cmd, spec, args[0], func(e *editor) error {
		for t := range disk.QuotaTypes {
			if types[t] {
				if err := e.SetQuota(t, id, l); err != nil {
					return fmt.Errorf("%s: quotas of %ss: %w", output.Quote(args[0]), t, err)
				}
			}
		}
		return nil
	})
}

// parseLimits reads limits, of which those of space are sizes.
func parseLimits(values map[string]string) (l ext4.QuotaLimits, err error) {
	for name, to := range map[string]**uint64{
		"soft": &l.SpaceSoft, "hard": &l.SpaceHard, "inodes-soft": &l.InodeSoft, "inodes-hard": &l.InodeHard,
	} {
		text, given := values[name]
		if !given {
			continue
		}
		v, err := parseSize(text)
		if err != nil {
			return l, fmt.Errorf("--%s: %w", name, err)
		}
		n := uint64(v)
		if name == "soft" || name == "hard" {
			n = (n + disk.QuotaUnit - 1) / disk.QuotaUnit
		}
		*to = &n
	}
	if l == (ext4.QuotaLimits{}) {
		return l, errors.New("a limit was expected: --soft, --hard, --inodes-soft or --inodes-hard")
	}
	return l, nil
}
