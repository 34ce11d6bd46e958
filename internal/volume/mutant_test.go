//go:build testhooks

package volume_test

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
)

// TestLargeDelete_Mutant: where every freed block is taken to be revoked, a large delete ends the mount.
func TestLargeDelete_Mutant(t *testing.T) {
	mutant.Switch(mutant.RevokeAll)
	defer mutant.Switch(mutant.None)
	if err := largeDelete(t, false); err == nil {
		t.Error("there was room for every revoke")
	}
}
