package main

import (
	"math/rand/v2"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

func TestBelady_Known(t *testing.T) {
	for _, c := range []struct {
		trace []block.Number
		size  int
		hits  int
	}{
		{nil, 2, 0},
		{[]block.Number{1, 1, 1}, 1, 2},
		{[]block.Number{1, 2, 3, 1, 2, 3}, 3, 3},
		{[]block.Number{1, 2, 3, 1, 2, 3}, 2, 2}, // an LRU cache of two blocks has no hit
		{[]block.Number{7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2}, 3, 6},
	} {
		if got := belady(c.trace, c.size); got != c.hits {
			t.Errorf("%v in %d blocks: %d hits instead of %d", c.trace, c.size, got, c.hits)
		}
	}
}

// TestBelady_Bounds compares with our cache: the best possible is never worse, and never better than one miss a block.
func TestBelady_Bounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		trace, seen := make([]block.Number, 2000), map[block.Number]bool{}
		for i := range trace {
			trace[i] = block.Number(rng.ExpFloat64() * 100)
			seen[trace[i]] = true
		}
		best := belady(trace, 64)
		if mine := ours(trace, 64); mine > best {
			t.Errorf("S3-FIFO has %d hits, the best possible %d", mine, best)
		}
		if best > len(trace)-len(seen) {
			t.Errorf("%d hits of %d requests for %d blocks", best, len(trace), len(seen))
		}
	}
}
