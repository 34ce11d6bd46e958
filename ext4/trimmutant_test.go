//go:build testhooks

package ext4

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestTrim_Mutants: a trim of blocks that a crash would give back, and of blocks that a file gets meanwhile, are
// noticed.
func TestTrim_Mutants(t *testing.T) {
	noticed.By(t, mutant.TrimFreed, "TestTrim_Durable")
	noticed.By(t, mutant.TrimTaken, "TestTrim_Allocating")
}
