//go:build testhooks

package volume_test

import (
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestDependencies runs one operation between another one and its commit, each way in which the two exclude one
// another: the second to commit must see the first. With the dependency switched off it does not, and the test must
// notice that, too.
func TestDependencies(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for p, violated := range map[mutant.Promise]func(t *testing.T) string{
		mutant.D1: func(t *testing.T) string {
			return exclude(t, func(w *volume.Writable) (a, b func() error) {
				d := mkdir(t, w, ext4.Root, "d")
				return func() error { _, err := w.Create(root, d, "f", ext4.CreateOptions{Mode: disk.ModeRegular}); return err },
					func() error { _, err := w.Rmdir(root, ext4.Root, "d"); return err }
			})
		},
		mutant.D2: splitLeaf,
		mutant.D3: func(t *testing.T) string {
			return exclude(t, func(w *volume.Writable) (a, b func() error) {
				d := mkdir(t, w, ext4.Root, "d")
				return func() error { _, err := w.Rmdir(root, ext4.Root, "d"); return err },
					func() error { _, err := w.Create(root, d, "f", ext4.CreateOptions{Mode: disk.ModeRegular}); return err }
			})
		},
		mutant.D4: func(t *testing.T) string {
			return exclude(t, func(w *volume.Writable) (a, b func() error) {
				x, y := mkdir(t, w, ext4.Root, "x"), mkdir(t, w, ext4.Root, "y")
				return func() error { _, err := w.Rename(root, ext4.Root, "x", y, "in", 0); return err },
					func() error { _, err := w.Rename(root, ext4.Root, "y", x, "in", 0); return err }
			})
		},
	} {
		mutant.Switch(mutant.None)
		if why := violated(t); why != "" {
			t.Errorf("%v: %s", p, why)
		}
		mutant.Switch(p)
		why := ""
		for range 10 { // which names a split moves depends on a random number of the image
			if why = violated(t); why != "" {
				break
			}
		}
		if why == "" {
			t.Errorf("%v switched off: not noticed", p)
		} else {
			t.Logf("%v switched off: %s", p, why)
		}
		mutant.Switch(mutant.None)
	}
}
