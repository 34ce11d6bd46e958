package volume

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/wal"
)

// recoverFast makes the changes of fast commits, and the replacement of a block if one is given, by one epoch of a
// journal, and writes them home. Whole transactions are home already.
func (w *Writable) recoverFast(fast *ext4.FastCommits, journal *wal.Journal, with *ext4.ReplacedBlock) error {
	base, err := openBase(w.device, w.beside)
	if err != nil {
		return err
	}
	base.TakeFastCommits()
	log := &wholeLog{Journal: journal}
	var live *ext4.Writable
	s, _, err := mvcc.Open(mvcc.Options{
		BlockSize: base.Superblock().BlockSize,
		Home:      w.device,
		Memory:    DefaultMemory,
		PushBack:  -1,
		Durability: mvcc.EpochJournal{
			Journal: log,
			Apart:   w.apart != nil,
			Every:   math.MaxInt64,
			Seal:    func(e *mvcc.ClosingEpoch) error { return live.Seal(epoch{e}) },
		},
	})
	if err != nil {
		return err
	}
	live, err = ext4.OpenWritable(base, store{s, nil}, w.device,
		ext4.WriteOptions{Log: w.log, Quotas: ext4.QuotaOptions{Off: true}})
	if err == nil {
		err = fast.Recover(live, with, func() { log.whole.Store(true) })
	}
	if err == nil {
		err = s.Sync(context.Background())
	}
	failpoint.At("recovery", "fast commits")
	if err != nil {
		s.Abandon()
		return err
	}
	return s.Close()
}

// wholeLog is a journal that takes no epoch before the one with the changes of all fast commits: the first one ends
// them.
type wholeLog struct {
	*wal.Journal
	whole atomic.Bool
}

var errNotWhole = errors.New("the journal has no room for the changes of fast commits beside what they need: " +
	"let the kernel or e2fsck recover it once")

// Commit follows wal.EpochLog.
func (l *wholeLog) Commit(images []wal.Image, freed []block.Number, ordered bool) error {
	if !l.whole.Load() {
		return errNotWhole
	}
	if err := l.Journal.Commit(images, freed, ordered); err != nil {
		return fmt.Errorf("recover fast commits: %w", err)
	}
	return nil
}

// Abort leaves the journal as it is: what it holds can be recovered.
func (l *wholeLog) Abort() {}
