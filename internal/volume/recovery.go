package volume

import (
	"bytes"
	"fmt"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
	"github.com/varvefs/varve/wal"
)

// recover writes home what the journal holds, and makes it empty. Running it again, or after a crash inside it, comes
// to the same (W5): the journal is emptied when all is home, and flushed.
func (w *Writable) recover(base *ext4.FS) (*wal.Journal, error) {
	super := base.Superblock()
	places, next, err := base.JournalPlaces()
	if err != nil {
		return nil, err
	}
	if err := w.replayHome(base); err != nil {
		return nil, err
	}
	if w.Replayed > 0 {
		if err := w.device.Sync(); err != nil {
			return nil, fmt.Errorf("flush what recovery wrote: %w", err)
		}
	}
	failpoint.At("recovery", "flush")
	journal, err := wal.OpenJournal(w.logDevice(), super.BlockSize, places, next)
	if err != nil {
		return nil, err
	}
	if err := w.inherit(super, journal); err != nil {
		return nil, err
	}
	features := journalFeatures(super, journal)
	if fast := base.TakeFastCommits(); fast != nil {
		if err := journal.Continue(features); err != nil {
			return nil, err
		}
		failpoint.At("recovery", "continue")
		if err := w.recoverFast(fast, journal, nil); err != nil {
			return nil, err
		}
		if journal, err = wal.OpenJournal(w.logDevice(), super.BlockSize, places, next+1); err != nil {
			return nil, err
		}
	}
	err = journal.Reset(features)
	failpoint.At("recovery", "reset")
	return journal, err
}

// journalFeatures are those that a journal gets beside its own.
func journalFeatures(super *disk.Superblock, journal *wal.Journal) uint32 {
	features := uint32(jbd2.IncompatRevoke)
	if super.HasMetadataCsum() && !journal.HasChecksums() {
		features |= jbd2.IncompatCsumV3
	}
	if super.Blocks>>32 != 0 {
		features |= jbd2.Incompat64Bit
	}
	return features
}

// replayHome writes home what the journal holds. Where that makes the file system larger, the superblock comes last:
// one with the new size must find the descriptors of all groups, for e2fsck, too, which reads them before it recovers.
func (w *Writable) replayHome(base *ext4.FS) error {
	s := base.Superblock()
	write := w.writeHome(s.BlockSize)
	before, err := ext4.ReadSuperblock(w.device, 0)
	if err != nil || before.Blocks == s.Blocks {
		return base.EachReplayed(write)
	}
	at := block.Number(disk.SuperblockOffset / uint32(s.BlockSize))
	var last []byte
	err = base.EachReplayed(func(n block.Number, p []byte) error {
		if n == at {
			last = bytes.Clone(p)
			return nil
		}
		return write(n, p)
	})
	if err != nil || last == nil {
		return err
	}
	if err := w.device.Sync(); err != nil {
		return fmt.Errorf("flush what recovery wrote: %w", err)
	}
	return write(at, last)
}

// logDevice is the device with the journal.
func (w *Writable) logDevice() blockcache.Writable {
	if w.apart != nil {
		return w.apart
	}
	return w.device
}

// inherit takes over an error that ended an earlier use of a journal: the superblock says that there are errors, for
// e2fsck to look, and then the journal forgets it with its Reset (kernel, fs/ext4: ext4_clear_journal_err).
func (w *Writable) inherit(super *disk.Superblock, j *wal.Journal) error {
	if j.Errno() == 0 || mutant.Off(mutant.JournalErrno) {
		return nil
	}
	err := w.editSuper(func(p []byte) {
		disk.PutErrorState(p)
		super.SealSuperblock(p)
	})
	j.ForgetErrno()
	failpoint.At("recovery", "errno")
	return err
}

// writeHome writes recovered blocks home, after a flush of the journal: that may have been read from the page cache,
// where a process that was killed has left it.
func (w *Writable) writeHome(size block.Size) func(n block.Number, p []byte) error {
	flushed := mutant.Off(mutant.RecoveryFlush)
	return func(n block.Number, p []byte) error {
		if !flushed {
			if err := w.logDevice().Sync(); err != nil {
				return fmt.Errorf("flush the journal: %w", err)
			}
			flushed = true
		}
		w.Replayed++
		if _, err := w.device.WriteAt(p, size.Offset(n)); err != nil {
			return fmt.Errorf("recover %v: %w", n, err)
		}
		failpoint.At("recovery", "home")
		return nil
	}
}
