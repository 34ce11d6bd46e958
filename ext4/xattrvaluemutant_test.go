//go:build testhooks

package ext4

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestXattrValue_Mutants: each of these mutants makes its test fail.
func TestXattrValue_Mutants(t *testing.T) {
	noticed.By(t, mutant.ValueCount, "TestXattrValue_Meanwhile")
	noticed.By(t, mutant.ValueShared, "TestXattrValue_Meanwhile")
}
