//go:build testhooks

package volume_test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestFastCommits_StaleMutant: e2fsck recovers nothing where fast commits of an earlier sequence stay.
func TestFastCommits_StaleMutant(t *testing.T) {
	oracle.NeedRoot(t)
	stale := staleImage(t)
	mutant.Switch(mutant.StaleFast)
	defer mutant.Switch(mutant.None)
	if out, err := crashAndCheck(t, stale); err == nil {
		t.Errorf("nothing was noticed:\n%s", out)
	}
}

// TestFastCommits_PlaceMutant: a crash between an empty journal and the epoch in place of fast commits loses them.
func TestFastCommits_PlaceMutant(t *testing.T) {
	oracle.NeedRoot(t)
	image, err := os.ReadFile(fastImage(t, fastForms["1k"], 1, 20))
	if err != nil {
		t.Fatal(err)
	}
	mutant.Switch(mutant.FastPlace)
	defer mutant.Switch(mutant.None)
	c := &fastCuts{before: image, rng: rand.New(rand.NewPCG(1, 9)),
		open: func(d blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenOn(d, volume.WriteOptions{Commit: time.Hour})
		}}
	if c.run(t) == nil {
		t.Error("nothing was noticed")
	}
}
