//go:build testhooks

package merge

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestResolve_ProgramsMutants: proofs that do not look at a record's place, or take equal bytes for no conflict, give
// results that are not serial.
func TestResolve_ProgramsMutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, p := range []mutant.Promise{mutant.Relocation, mutant.ReappliedPlace, mutant.EqualBytes} {
		mutant.Switch(p)
		if _, wrong := programs(t); wrong == "" {
			t.Errorf("%s switched off: every accepted merge is serial", p)
		}
	}
}
