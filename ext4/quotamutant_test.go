//go:build testhooks

package ext4

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestQuota_Mutants: each of these mutants makes its test fail.
func TestQuota_Mutants(t *testing.T) {
	noticed.By(t, mutant.QuotaOwner, "TestQuota_OwnerBetween")
	noticed.By(t, mutant.QuotaLimits, "TestQuota_Limits")
}
