package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
	"github.com/varvefs/varve/internal/volume"
)

// TestOracle_Features compares, for each set of mkfs features, every path of a varve mount and of the view without a
// mount with what the kernel's ext4 shows on a loop mount, or debugfs where the kernel lacks the feature.
func TestOracle_Features(t *testing.T) {
	rows := oracle.Share(1, 2, oracle.Rows)
	if program.Race { // slow, and with nothing to find in the other rows that it does not find in these
		rows = slices.DeleteFunc(slices.Clone(oracle.Rows), func(r oracle.Row) bool {
			return !slices.Contains(
				[]string{"default", "ext2-1k", "inline-data", "ea-inode", "casefold", "external-journal"},
				r.Name,
			)
		})
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			image, journal := row.Build(t)
			v, err := volume.Open(volume.Spec{Image: image})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			view := oracle.View(t, v.FS)
			if row.Offline {
				paths := slices.DeleteFunc(slices.Sorted(maps.Keys(view)),
					func(p string) bool { return strings.ContainsAny(p, "\n\"") })
				want, got := oracle.Debugfs(t, image, paths), oracle.Manifest{}
				for _, p := range paths {
					n := view[p]
					if want[p].Target == "" && n.Target != "" { // debugfs prints the targets of fast links only
						n.Target = ""
					}
					got[p] = n
				}
				oracle.Compare(t, "debugfs", want, "view", got, "xattrs")
			} else {
				options := "ro"
				if journal != "" {
					device, _ := oracle.Loop(t, journal)
					options += ",journal_path=" + device
				}
				dir, _ := oracle.MountKernel(t, image, options)
				oracle.Compare(t, "kernel", oracle.Tree(t, dir), "view", view)
			}
			dir, _ := mountImage(t, image)
			oracle.Compare(t, "view", view, "mount", oracle.Tree(t, dir))
			if !row.Offline {
				oracle.Clean(t, image)
			}
		})
	}
}
