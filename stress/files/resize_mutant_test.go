//go:build testhooks

package files

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestCrash_ResizeMutants switches off what growing promises: crash states show it.
func TestCrash_ResizeMutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for p, f := range map[mutant.Promise]form{
		mutant.ResizeAtomic: resizeForms[0], mutant.ResizeZeros: resizeForms[1],
	} {
		mutant.Switch(p)
		failed, states := []string(nil), 0
		for seed := uint64(1); seed <= 8 && len(failed) == 0; seed++ {
			x := f.exploreResize(t, seed, 100)
			failed, states = x.Failed, states+x.States
		}
		mutant.Switch(mutant.None)
		if len(failed) == 0 {
			t.Errorf("%v switched off: not noticed in %d states", p, states)
		} else {
			t.Logf("%v switched off: caught after %d states: %.200s", p, states, failed[0])
		}
	}
}
