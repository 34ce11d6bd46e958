//go:build testhooks

package blockcache

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestOverlay_SyncMutant: without single flight the test of overlapping Syncs fails.
func TestOverlay_SyncMutant(t *testing.T) {
	mutant.Switch(mutant.OverlaySync)
	defer mutant.Switch(mutant.None)
	if got := reopened(t, lateSync(t), 8192); got == 7 {
		t.Error("overlapping Syncs were let through, and nothing was lost")
	}
}
