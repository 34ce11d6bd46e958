//go:build testhooks

package main

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/noticed"
)

// TestRW_DirectSyncMutant: a daemon that does not sync such writes fails the same steps.
func TestRW_DirectSyncMutant(t *testing.T) {
	t.Setenv("VARVE_MUTANT", string(mutant.DirectSync))
	if directSync(t, "rw", unix.O_DSYNC, write) {
		t.Error("the write was not synced, and a crash lost nothing")
	}
}

// TestRW_SeekPagesMutant: where the page cache is not seen, the same steps find other data and holes.
func TestRW_SeekPagesMutant(t *testing.T) {
	t.Setenv("VARVE_MUTANT", string(mutant.SeekPages))
	if written, mapped := seekPages(t, "rw,writeback_cache"); written[0] == 0 || mapped[0] == 8192 {
		t.Errorf("data in the page cache was found: %v, %v", written, mapped)
	}
}

// TestFull_MountMutants: on a full file system each of these mutants fails the same steps.
func TestFull_MountMutants(t *testing.T) {
	t.Setenv("VARVE_MUTANT", string(mutant.DirectWhole))
	if err := directShort(t); !errors.Is(err, unix.EIO) {
		t.Errorf("a direct write was answered short: %v", err)
	}
	t.Setenv("VARVE_MUTANT", string(mutant.WritebackRoot))
	if free, err := mapped(t); errors.Is(err, unix.ENOSPC) && free >= 24<<8*30/100 {
		t.Error("a mapped write of a plain user did not get at reserved blocks")
	}
	t.Setenv("VARVE_MUTANT", string(mutant.GatheredRoom))
	if _, _, err := gathered(t, 512<<20, 3*time.Second); err != nil {
		t.Errorf("write(2) failed though the promise is switched off: %v", err)
	}
}

// TestMount_Mutants: each of these mutants makes its test fail.
func TestMount_Mutants(t *testing.T) {
	noticed.By(t, mutant.ImageShared, "TestMount_Shared")
	noticed.By(t, mutant.LoopMounted, "TestMount_LoopMounted")
	noticed.By(t, mutant.LabelCopies, "TestLabel_Kernel")
}
