//go:build testhooks

package stress

import (
	"errors"
	"fmt"
	"github.com/varvefs/varve/internal/mutant"
	"testing"
)

// TestCrash_Mutants switches each promise off on purpose: the explorer must notice.
func TestCrash_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, p := range mutant.Log {
		mutant.Switch(p)
		x := NewExplorer(1, 6, true)
		err := exploreMutant(x)
		switch {
		case len(x.Failed) > 0:
			fmt.Printf("%s switched off: caught after %d states: %s\n", p, x.States, x.Failed[0])
		case err != nil && !errors.Is(err, errEnough):
			fmt.Printf("%s switched off: caught by the store: %v\n", p, err)
		default:
			t.Errorf("%s switched off: not noticed in %d states", p, x.States)
		}
	}
}
