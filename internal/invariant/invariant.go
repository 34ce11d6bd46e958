// Package invariant holds the six invariants of epochs and snapshots as checkers: pure functions of what the engine is
// about to do or has done. A build with -tags invariants runs them in the real store, where a broken one ends the
// program.
package invariant

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// Must ends the program over a broken invariant: nothing that runs on could be trusted. Where a test has switched a
// promise off, its judge is to notice.
func Must(err error) {
	if err != nil && !mutant.Any() {
		panic("varve: a broken invariant: " + err.Error())
	}
}

// SnapshotVisibility: a snapshot reads no version that is newer than itself.
func SnapshotVisibility(n block.Number, version, snapshot block.Seq) error {
	if version > snapshot {
		return fmt.Errorf("snapshot visibility: snapshot %d reads version %d of %v", snapshot, version, n)
	}
	return nil
}

// AliasOrder: under each of its names a group is staged at least as far as it is visible, and visible as far as
// durable; and each only grows.
func AliasOrder(key uint64, before, now [3]block.Seq) error {
	names := [3]string{"staged", "visible", "durable"}
	for i := range now {
		if now[i] < before[i] {
			return fmt.Errorf("alias order: group %d was %s to %d, and is to %d", key, names[i], before[i], now[i])
		}
		if i > 0 && now[i] > now[i-1] {
			return fmt.Errorf("alias order: group %d is %s to %d, and %s to %d only", key, names[i], now[i], names[i-1],
				now[i-1])
		}
	}
	return nil
}

// MetadataAfterData: an epoch's end is written when the ordered data of its commits is home and flushed (W3).
func MetadataAfterData(unflushed bool, e block.Epoch) error {
	if unflushed {
		return fmt.Errorf("metadata after data: epoch %d ends before its data is flushed", e)
	}
	return nil
}

// SyncCompleteness: what was visible when a sync began is durable when it returns.
func SyncCompleteness(visible, durable block.Seq) error {
	if durable < visible {
		return fmt.Errorf("sync completeness: commits to %d were visible, and a sync returned at %d", visible, durable)
	}
	return nil
}

// FlushIsNotDurable: handing records to the device makes nothing durable.
func FlushIsNotDurable(before, after block.Seq) error {
	if before != after {
		return fmt.Errorf("flush is not durable: a flush moved the durable sequence from %d to %d", before, after)
	}
	return nil
}

// CrossEpochOrder: epochs become durable one after the other, and their commits in sequence.
func CrossEpochOrder(before, e block.Epoch, last, next block.Seq) error {
	if e != before+1 || next < last {
		return fmt.Errorf("cross-epoch order: epoch %d to commit %d follows epoch %d to commit %d", e, next, before, last)
	}
	return nil
}
