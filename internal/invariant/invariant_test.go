package invariant

import (
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// TestCheckers: each has a case that it accepts, and one that it must reject.
func TestCheckers(t *testing.T) {
	type seqs = [3]block.Seq
	for name, c := range map[string]struct{ good, bad error }{
		"snapshot visibility":    {SnapshotVisibility(1, 5, 5), SnapshotVisibility(1, 6, 5)},
		"alias order, shrinking": {AliasOrder(1, seqs{3, 2, 1}, seqs{3, 3, 1}), AliasOrder(1, seqs{3, 2, 1}, seqs{3, 1, 1})},
		"alias order, crossing":  {AliasOrder(1, seqs{}, seqs{3, 2, 2}), AliasOrder(1, seqs{}, seqs{3, 2, 3})},
		"metadata after data":    {MetadataAfterData(false, 1), MetadataAfterData(true, 1)},
		"sync completeness":      {SyncCompleteness(4, 4), SyncCompleteness(4, 3)},
		"flush is not durable":   {FlushIsNotDurable(4, 4), FlushIsNotDurable(4, 5)},
		"cross-epoch order":      {CrossEpochOrder(1, 2, 5, 5), CrossEpochOrder(1, 3, 5, 6)},
		"cross-epoch sequences":  {CrossEpochOrder(1, 2, 5, 6), CrossEpochOrder(1, 2, 5, 4)},
	} {
		if c.good != nil || c.bad == nil {
			t.Errorf("%s: accepted %v, rejected %v", name, c.good == nil, c.bad != nil)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Must went on")
		}
	}()
	Must(SyncCompleteness(4, 3))
}
