package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/feature"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/survey"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newInfo() *cobra.Command {
	var spec volume.Spec
	var more infoParts
	cmd := &cobra.Command{
		Use:   "info IMAGE",
		Short: "Describe a file system, and say whether varve can read it",
		Long: "Describe a file system, and say whether it can be mounted read-only, read-write, or with an overlay.\n" +
			"--features says by feature why not, and what to do; --groups lists the block groups as dumpe2fs does,\n" +
			"and --journal what the journal holds.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			i, err := describe(spec)
			if err != nil {
				return err
			}
			return more.show(cmd.Context(), cmd.OutOrStdout(), spec, i)
		},
	}
	imageFlags(cmd, &spec)
	f := cmd.Flags()
	f.BoolVar(&more.groups, "groups", false, "list the block groups")
	f.BoolVar(&more.journal, "journal", false, "show the journal's state")
	f.BoolVar(&more.features, "features", false, "explain each feature, and what keeps the image from being mounted")
	f.BoolVar(&more.json, "json", false, "print JSON")
	return cmd
}

// infoParts are the parts of the description that are asked for.
type infoParts struct{ groups, journal, features, json bool }

// show prints a description with the parts that are asked for. Groups come last: there may be many.
func (p infoParts) show(ctx context.Context, w io.Writer, spec volume.Spec, i *imageInfo) error {
	if p.features {
		i.Verdict = i.judge(i.FeatureList)
	} else {
		i.FeatureList = nil
	}
	var v *volume.Volume
	var problem error
	if p.groups || p.journal {
		if v, problem = openStored(spec); v == nil {
			p.groups, p.journal = false, false // what there is is described without them
		} else {
			defer v.Close()
		}
	}
	if p.journal {
		if i.JournalState = survey.JournalOf(v.FS); i.JournalState != nil {
			problem = errors.Join(problem, i.JournalState.Err)
		}
	}
	if p.json {
		return errors.Join(p.showJSON(ctx, w, v, i), problem)
	}
	err := i.print(w)
	if p.features {
		err = errors.Join(err, i.printFeatures(w))
	}
	if p.journal {
		err = errors.Join(err, printJournal(w, i.JournalState))
	}
	if p.groups {
		err = errors.Join(err, printGroups(ctx, w, v.FS))
	}
	return errors.Join(err, problem)
}

// showJSON prints the same as a document.
func (p infoParts) showJSON(ctx context.Context, w io.Writer, v *volume.Volume, i *imageInfo) error {
	if !p.groups {
		return output.WriteJSON(w, i)
	}
	l, err := output.BeginListIn(w, "block_groups", i)
	if err != nil {
		return err
	}
	var problem error
	err = survey.Groups(ctx, v.FS, func(g *survey.Group) error {
		if problem == nil {
			problem = g.Err
		}
		return l.Add(g)
	})
	return errors.Join(err, l.End(), problem)
}

// imageInfo is the description that varve info prints. Sizes ending in _bytes are in bytes, times are RFC 3339.
type imageInfo struct {
	SchemaVersion  int        `json:"schema_version"`
	Image          string     `json:"image"`
	Type           string     `json:"type"`
	Label          string     `json:"label"`
	UUID           string     `json:"uuid"`
	Partition      int        `json:"partition,omitempty"`
	OffsetBytes    int64      `json:"offset_bytes"`
	ImageBytes     int64      `json:"image_bytes"`
	BlockSize      uint32     `json:"block_size_bytes"`
	ClusterSize    uint32     `json:"cluster_size_bytes"`
	Blocks         uint64     `json:"blocks"`
	FreeBlocks     uint64     `json:"free_blocks"`
	ReservedBlocks uint64     `json:"reserved_blocks"`
	Inodes         uint32     `json:"inodes"`
	FreeInodes     uint32     `json:"free_inodes"`
	InodeSize      uint16     `json:"inode_size_bytes"`
	Groups         uint32     `json:"groups"`
	Compat         []string   `json:"features_compat"`
	Incompat       []string   `json:"features_incompat"`
	ROCompat       []string   `json:"features_ro_compat"`
	State          string     `json:"state"`
	NeedsRecovery  bool       `json:"needs_recovery"`
	MkfsTime       *time.Time `json:"mkfs_time,omitempty"`
	MountTime      *time.Time `json:"mount_time,omitempty"`
	WriteTime      *time.Time `json:"write_time,omitempty"`
	LastMounted    string     `json:"last_mounted"`
	ErrorCount     uint32     `json:"error_count"`
	ReplayedBlocks int        `json:"replayed_blocks"`
	Readable       bool       `json:"readable"`
	Writable       string     `json:"writable"` // in_place or no
	WhyNotWritable string     `json:"not_writable_why,omitempty"`
	Caution        string     `json:"writable_caution,omitempty"`
	Problems       []string   `json:"problems"`

	FeatureList  []feature.Feature `json:"feature_list,omitempty"` // with --features
	Verdict      *verdict          `json:"verdict,omitempty"`      // the same
	JournalState *survey.Journal   `json:"journal,omitempty"`      // with --journal

	norecovery   bool
	needsLog     bool // and has not got it
	needsJournal bool // the same
}

// describe reads the superblock, and then opens the file system to see whether that works.
func describe(spec volume.Spec) (*imageInfo, error) {
	v, s, err := volume.OpenSuperblock(spec)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	i := &imageInfo{
		SchemaVersion: output.SchemaVersion, Image: spec.Image, Type: s.Kind(), Label: s.Label, UUID: disk.FormatUUID(s.UUID),
		OffsetBytes: spec.Offset, ImageBytes: v.Device.Size(), BlockSize: uint32(s.BlockSize),
		ClusterSize: uint32(s.BlockSize) * s.ClusterBlocks, Blocks: uint64(s.Blocks), FreeBlocks: s.FreeBlocks,
		ReservedBlocks: s.ReservedBlocks, Inodes: s.Inodes, FreeInodes: s.FreeInodes, InodeSize: s.InodeSize,
		Compat: names(s.Compat.Names()), Incompat: names(s.Incompat.Names()), ROCompat: names(s.ROCompat.Names()),
		State: state(s), MkfsTime: known(s.MkfsTime), MountTime: known(s.MountTime), WriteTime: known(s.WriteTime),
		LastMounted: s.LastMounted, ErrorCount: s.ErrorCount, Problems: []string{},
		norecovery: spec.NoRecovery,
	}
	if v.Partition != nil {
		i.Partition, i.OffsetBytes = v.Partition.Number, v.Partition.Offset
	}
	if s.IsJournalDevice() {
		i.Type = "journal"
	} else {
		i.Groups = uint32(s.Groups())
	}
	i.open(spec)
	i.judgeWriting(s)
	i.FeatureList = feature.Of(s)
	return i, nil
}

// open tries the steps of a mount.
func (i *imageInfo) open(spec volume.Spec) {
	v, err := volume.Open(spec)
	if err != nil {
		i.Problems = append(i.Problems, err.Error())
		i.needsLog, i.needsJournal = errors.Is(err, ext4.ErrNeedsLog), errors.Is(err, ext4.ErrNeedsJournal)
		i.NeedsRecovery = errors.Is(err, ondisk.ErrCorrupt) || i.needsLog
		return
	}
	defer v.Close()
	i.NeedsRecovery = v.NeedsRecovery()
	i.ReplayedBlocks = v.Replayed()
	if st, err := v.Stat(); err != nil {
		i.Problems = append(i.Problems, err.Error())
	} else {
		i.FreeBlocks, i.FreeInodes = st.Free, uint32(st.FreeInodes)
	}
	if err := v.CheckGroups(); err != nil {
		i.Problems = append(i.Problems, err.Error())
	}
	if want := v.Superblock().BlockSize.Offset(v.Superblock().Blocks); v.Device.Size() < want {
		i.Problems = append(i.Problems, fmt.Sprintf("the image is cut short: %d bytes of %d", v.Device.Size(), want))
	}
	if err := v.CheckRoot(); err != nil {
		i.Problems = append(i.Problems, err.Error())
		return
	}
	i.Readable = true
}

// The ways to write to a file system, as JSON has them.
const (
	writableInPlace = "in_place"
	writableNo      = "no"
)

// judgeWriting says whether a read-write mount takes the file system, as far as its superblock shows.
func (i *imageInfo) judgeWriting(s *disk.Superblock) {
	i.Writable = writableNo
	if !i.Readable {
		i.WhyNotWritable = "it cannot be read"
	} else if err := ext4.CheckWritable(s); err != nil {
		i.WhyNotWritable = err.Error()
	} else {
		i.Writable = writableInPlace
		switch {
		case s.Compat&disk.CompatHasJournal != 0 && s.JournalIno == 0:
			i.Caution = "its journal is on another device: name that with -o journal_path=IMAGE"
		case s.Compat&disk.CompatHasJournal == 0:
			i.Caution = "no journal: after a crash it needs e2fsck, but with -o wal=FILE"
		}
	}
}

// writing is the result of judgeWriting in words.
func (i *imageInfo) writing() string {
	if i.Writable == writableInPlace {
		if i.Caution != "" {
			return "and read-write with --rw (" + i.Caution + "), or with --overlay FILE"
		}
		return "and read-write with --rw, or with --overlay FILE"
	}
	return "not read-write (" + i.WhyNotWritable + ")"
}

// recovery describes the contents of the journal.
func (i *imageInfo) recovery() string {
	if i.needsLog {
		return "needs the log beside the image (wal=FILE): it has the newest blocks"
	}
	if i.norecovery {
		return "needs recovery, and was not read (--norecovery)"
	}
	return fmt.Sprintf("needs recovery: %d blocks are newer in the journal", i.ReplayedBlocks)
}

func state(s *disk.Superblock) string {
	switch {
	case s.State&disk.StateErrors != 0:
		return "errors"
	case s.State&disk.StateClean == 0:
		return "not clean"
	}
	return "clean"
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func names(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (i *imageInfo) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(t, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("Type", "%s", i.Type)
	row("Label", "%s", output.Quote(i.Label))
	row("UUID", "%s", i.UUID)
	if i.Partition != 0 {
		row("Partition", "%d at byte %d", i.Partition, i.OffsetBytes)
	}
	row("Size", "%d blocks of %d bytes in %d groups, %d free", i.Blocks, i.BlockSize, i.Groups, i.FreeBlocks)
	row("Inodes", "%d of %d bytes, %d free", i.Inodes, i.InodeSize, i.FreeInodes)
	row("Features", "%s", join(i.Compat, i.Incompat, i.ROCompat))
	row("State", "%s", i.State)
	if i.NeedsRecovery {
		row("Journal", "%s", i.recovery())
	}
	if i.LastMounted != "" {
		row("Last mounted on", "%s", output.Quote(i.LastMounted))
	}
	if i.WriteTime != nil {
		row("Last written", "%s", i.WriteTime.Format(time.RFC3339))
	}
	if i.ErrorCount > 0 {
		row("Errors seen by the kernel", "%d", i.ErrorCount)
	}
	for _, p := range i.Problems {
		row("Problem", "%s", p)
	}
	if i.Readable {
		row("varve", "can mount it read-only, and read it with ls, cat, stat, tree, cp and tar; %s", i.writing())
	} else {
		row("varve", "cannot read it")
	}
	return t.Flush()
}

func join(lists ...[]string) string {
	out := ""
	for _, l := range lists {
		for _, name := range l {
			out += " " + name
		}
	}
	if out == "" {
		return "(none)"
	}
	return out[1:]
}
