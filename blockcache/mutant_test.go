//go:build testhooks

package blockcache

import (
	"os"
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestOverlay_SyncMutant: without single flight the test of overlapping Syncs fails.
func TestOverlay_SyncMutant(t *testing.T) {
	mutant.Switch(mutant.OverlaySync)
	defer mutant.Switch(mutant.None)
	if got := reopened(t, lateSync(t), 8192); got == 7 {
		t.Error("overlapping Syncs were let through, and nothing was lost")
	}
}

// TestDevices_Mutants: each of these mutants makes its test fail.
func TestDevices_Mutants(t *testing.T) {
	noticed.By(t, mutant.SyncError, "TestOverlay_SyncError")
	if os.Geteuid() == 0 {
		noticed.By(t, mutant.SyncError, "TestDisk_SyncError")
	}
	noticed.By(t, mutant.MapChecksum, "TestOverlay_Damage")
	noticed.By(t, mutant.BaseSync, "TestOverlay_BaseDurable")
	noticed.By(t, mutant.RecorderLate, "TestRecording_WriteMeetsFlush")
}

// TestOverlay_CutShortMutant: zeros in the place of lost bytes make the test fail.
func TestOverlay_CutShortMutant(t *testing.T) { noticed.By(t, mutant.CutShort, "TestOverlay_CutShort") }
