//go:build testhooks

package ext4

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestClusters_Mutants: a file that gets a second cluster for one logical cluster, and a cluster that is freed while
// blocks of it are mapped, are noticed.
func TestClusters_Mutants(t *testing.T) {
	noticed.By(t, mutant.ImpliedCluster, "TestClusters_Edits")
	noticed.By(t, mutant.SharedCluster, "TestClusters_Edits")
}
