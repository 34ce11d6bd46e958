//go:build testhooks

package wal

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestOpen_StaleSealMutant: a recovery that takes stale seals for damage refuses one of the prefixes.
func TestOpen_StaleSealMutant(t *testing.T) {
	mutant.Switch(mutant.StaleSeal)
	defer mutant.Switch(mutant.None)
	if states, why := staleSeals(t); why == "" {
		t.Errorf("none of %d prefixes was refused", states)
	}
}
