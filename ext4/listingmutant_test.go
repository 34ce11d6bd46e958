//go:build testhooks

package ext4

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestListing_Mutant: a listing in the order of the entries' places makes the test fail.
func TestListing_Mutant(t *testing.T) { noticed.By(t, mutant.ListingOrder, "TestListing_NamesMove") }
