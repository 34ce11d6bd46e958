//go:build testhooks

package volume_test

import (
	"testing"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
	"github.com/varvefs/varve/internal/volume"
)

// TestLargeDelete_Mutant: where every freed block is taken to be revoked, a large delete ends the mount.
func TestLargeDelete_Mutant(t *testing.T) {
	mutant.Switch(mutant.RevokeAll)
	defer mutant.Switch(mutant.None)
	if err := largeDelete(t, false); err == nil {
		t.Error("there was room for every revoke")
	}
}

// TestFull_Mutants: where nothing is kept for nodes, a promise is broken on a full file system; where reserved blocks
// are root's alone, others that the superblock names do not get at them.
func TestFull_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	mutant.Switch(mutant.NodeReserve)
	if err := promised(t, volume.WriteOptions{}); err == nil {
		t.Error("no node was needed")
	}
	mutant.Switch(mutant.ReservedFor)
	if got := reservedFor(t); got["resuid"] || got["resgid"] {
		t.Errorf("reserved blocks were given out: %v", got)
	}
}

// TestSlowReader_Mutant: where back-pressure ends in an error, a slow reader is one for writers.
func TestSlowReader_Mutant(t *testing.T) {
	mutant.Switch(mutant.Patience)
	defer mutant.Switch(mutant.None)
	w, err := slowReaders["data=journal"](t, mkfs(t, "64M", "-t", "ext4"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slowReader(t, w); err == nil {
		t.Error("no writer had to wait")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamage_Mutants: each of these mutants makes its test fail.
func TestDamage_Mutants(t *testing.T) {
	noticed.By(t, mutant.DamageMarks, "TestDamage_Marks")
	noticed.By(t, mutant.FirstUse, "TestFeatures_FirstUse")
	noticed.By(t, mutant.HtreeLevels, "TestLargeDir_Without")
	noticed.By(t, mutant.RecoveryFlush, "TestRecovery_UnflushedJournal")
	noticed.By(t, mutant.SyncFlags, "TestSyncFlags")
	noticed.By(t, mutant.OrphanList, "TestOrphans_FullFile")
	noticed.By(t, mutant.BitmapSum, "TestBitmaps_WrongSum")
	noticed.By(t, mutant.XattrBlock, "TestXattrBlock_Misdirected")
	noticed.By(t, mutant.GroupChecks, "TestGroups_Wrong")
	noticed.By(t, mutant.UnusedSlots, "TestLazyTables_Gap")
}

// TestBitmaps_Mutant: bitmaps that never leave memory make the test fail.
func TestBitmaps_Mutant(t *testing.T) {
	mutant.Switch(mutant.BitmapBound)
	defer mutant.Switch(mutant.None)
	if most := manyGroups(t, 8<<20); most <= 1<<20 {
		t.Errorf("bitmaps of 192 groups took %d bytes", most)
	}
}

// TestOwnBlocks_Mutant: without the check, a damaged file takes an inode table for its data.
func TestOwnBlocks_Mutant(t *testing.T) {
	path, _, bad := ownBlock(t, "ext4", "block[5]", "dumpe2fs", `Inode table at (\d+)`)
	mutant.Switch(mutant.OwnBlocks)
	defer mutant.Switch(mutant.None)
	w := open(t, path, volume.WriteOptions{})
	defer func() { _ = w.Abandon() }()
	if _, err := w.Write(root, bad, 0, []byte("worse"), false); err != nil {
		t.Errorf("nothing was lost: %v", err)
	}
}

// TestUnlogged_Mutants: each of these mutants makes its test fail.
func TestUnlogged_Mutants(t *testing.T) {
	noticed.By(t, mutant.Unclean, "TestUnlogged_State")
	noticed.By(t, mutant.UnloggedOrphans, "TestUnlogged_State")
	noticed.By(t, mutant.UnloggedData, "TestUnlogged_Order")
	noticed.By(t, mutant.UnloggedFlush, "TestUnlogged_Order")
	noticed.By(t, mutant.UnloggedOrder, "TestUnlogged_Directories")
}

// TestLog_Mutants: each of these mutants makes its test fail.
func TestLog_Mutants(t *testing.T) {
	noticed.By(t, mutant.LogDamage, "TestLog_Refusals")
	noticed.By(t, mutant.LogMark, "TestLog_Recovers")
}
