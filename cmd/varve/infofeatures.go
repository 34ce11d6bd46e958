package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/varvefs/varve/internal/feature"
)

// verdict is what can be done with an image as a whole, which the features alone do not say.
type verdict struct {
	ReadOnly  bool     `json:"read_only"`
	ReadWrite bool     `json:"read_write"`
	Overlay   bool     `json:"overlay"`
	Why       []string `json:"why"` // of what is not possible, or only with care
	Advice    []string `json:"advice"`
}

// judge says how an image can be mounted, and what to do where it cannot.
func (i *imageInfo) judge(features []feature.Feature) *verdict {
	v := &verdict{ReadOnly: i.Readable, ReadWrite: i.Writable == writableInPlace, Why: []string{}, Advice: []string{}}
	v.Overlay = v.ReadWrite
	v.Why = append(v.Why, i.Problems...)
	if i.WhyNotWritable != "" && i.Readable {
		v.Why = append(v.Why, i.WhyNotWritable)
	}
	if i.Caution != "" {
		v.Why = append(v.Why, i.Caution)
	}
	for _, f := range features {
		if !f.Read || !f.Write && f.Advice != "" {
			v.Advice = append(v.Advice, f.Name+": "+f.Advice)
		}
	}
	switch {
	case !v.ReadOnly && !i.NeedsRecovery && i.State != "clean":
		v.Advice = append(v.Advice, "check it with varve fsck -f, and repair a copy of it with e2fsck -fy")
	case !v.ReadOnly && i.needsLog:
		v.Advice = append(v.Advice, "name the log beside the image with -o wal=FILE (--wal FILE)")
	case !v.ReadOnly && i.needsJournal:
		v.Advice = append(v.Advice, "name the external journal with --journal-device IMAGE, or leave it alone with "+
			"-o norecovery (--norecovery): files are then as they were before its changes")
	case !v.ReadOnly && i.NeedsRecovery:
		v.Advice = append(v.Advice, "read what is at home with -o norecovery (--norecovery), or repair a "+
			"copy with e2fsck -fy")
	case !v.ReadOnly && len(v.Advice) == 0:
		v.Advice = append(v.Advice, "see what is left with varve dump, and repair a copy of it with e2fsck -fy")
	case len(i.Problems) > 0:
		v.Advice = append(v.Advice, "check it with varve fsck -f before it is written to")
	}
	return v
}

// printFeatures prints the features, and the verdict.
func (i *imageInfo) printFeatures(w io.Writer) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "feature\tclass\tread-only\tread-write\toverlay\tmeaning")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, f := range i.FeatureList {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Class, yes[f.Read], yes[f.Write], yes[f.Overlay], f.Meaning)
	}
	v := i.Verdict
	fmt.Fprintf(t, "\nthe image\t\t%s\t%s\t%s\n", yes[v.ReadOnly], yes[v.ReadWrite], yes[v.Overlay])
	if err := t.Flush(); err != nil {
		return err
	}
	for _, why := range v.Why {
		fmt.Fprintf(w, "why: %s\n", why)
	}
	for _, what := range v.Advice {
		fmt.Fprintf(w, "what to do: %s\n", what)
	}
	return nil
}
