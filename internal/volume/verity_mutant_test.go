//go:build testhooks

package volume_test

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/oracle"
)

// TestVerity_Mutant: contents that are not verified are noticed.
func TestVerity_Mutant(t *testing.T) {
	mutant.Switch(mutant.Verity)
	defer mutant.Switch(mutant.None)
	path := mkfs(t, "16M", "-t", "ext4", "-b", "4096", "-O", "verity")
	oracle.Verity(t, path, "file", randomBytes(3_000_001))
	flip(t, path, blockPlace(t, path, "/file", verityDamages[0].offset))
	if len(verityDamages[0].check(t, path)) == 0 {
		t.Error("a changed block of a file under verity was not noticed")
	}
}
