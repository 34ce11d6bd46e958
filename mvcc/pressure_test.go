package mvcc

import (
	"slices"
	"testing"
)

// TestStep_Hysteresis: each step is taken at its mark, and left at a lower one only.
func TestStep_Hysteresis(t *testing.T) {
	var now step
	var got []step
	for _, p := range []float64{0.1, 0.49, 0.5, 0.45, 0.39, 0.6, 0.8, 0.7, 0.95, 0.94, 0.81, 0.79, 0.66, 0.64, 0.41, 0.39,
		0.99, 0} {
		now = now.next(p)
		got = append(got, now)
	}
	want := []step{
		noStep,
		noStep,
		flushing,
		flushing,
		noStep,
		flushing,
		slowing,
		slowing,
		waiting,
		waiting,
		waiting,
		slowing,
		slowing,
		flushing,
		flushing,
		noStep,
		waiting,
		noStep,
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v,\nexpected %v", got, want)
	}
}
