package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Fast commits lie behind the log, and belong to the sequence behind its last whole transaction. The journal's
// superblock says in one sector whether recovery finds them, or the epoch that takes their place:
//
//	before   start ─▶ │ - │ descriptor, images …, commit │ … │ fast commits │   feature fast_commit: they are found
//	behind            │ - │ ◀─ start: the epoch is found │ … │ fast commits │   without the feature: they are not
//
// The epoch has their sequence. The feature goes, though the sequence alone ends them for the kernel, because e2fsck
// 1.47 gives up a recovery where fast commits have another sequence than it expects.

// Continue is Reset for a journal with fast commits of which nothing is home yet: recovery finds them until the first
// epoch, which has to have all of their changes, is durable in their place.
func (j *Journal) Continue(features uint32) error {
	if mutant.Off(mutant.FastPlace) {
		return j.Reset(features)
	}
	j.clean |= features
	j.next--
	j.reserve()
	at := j.super.First
	for ; ; at++ {
		if at+1 >= j.super.End() {
			return fmt.Errorf("%w: the log is full of transaction %d, which is not whole", ErrCorrupt, j.next)
		}
		p := make([]byte, j.size)
		if _, err := j.dev.ReadAt(p, j.size.Offset(j.places[at])); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		if h, ok := jbd2.DecodeHeader(p); !ok || h.Sequence != j.next {
			break
		}
	}
	j.super.PutStart(j.raw, at, j.next)
	if err := j.writeSuper(); err != nil {
		return err
	}
	j.begun, j.over, j.head = true, at+1, at+1
	j.putLogFeatures(j.clean &^ jbd2.IncompatFastCommit)
	return nil
}

// checkOver checks that the epoch which takes the place of fast commits does not go round the end of the log, which
// moves with the feature.
func (j *Journal) checkOver(images int) error {
	if j.over != 0 && int(j.over)+j.need(images, 0) >= int(j.super.End()) {
		return fmt.Errorf("%w: %d blocks that fast commits changed", ErrTooLarge, images)
	}
	return nil
}

// endOver has recovery find the epoch that is in the log, and no fast commits any more.
func (j *Journal) endOver() error {
	if j.over == 0 {
		return nil
	}
	j.super.PutStart(j.raw, j.over, j.next)
	j.over = 0
	j.clean &^= jbd2.IncompatFastCommit
	return j.writeSuper()
}

// endFast makes the first block of the place for fast commits one without any, as those of an earlier sequence are in
// the way of e2fsck (above). The flush of the log's beginning covers it.
func (j *Journal) endFast() error {
	if j.super.FastBlocks == 0 || mutant.Off(mutant.StaleFast) {
		return nil
	}
	p, at := make([]byte, j.size), j.size.Offset(j.places[j.super.FastFirst()])
	if _, err := j.dev.ReadAt(p, at); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	if binary.LittleEndian.Uint16(p) != jbd2.FastHead {
		return nil
	}
	if _, err := j.dev.WriteAt(make([]byte, j.size), at); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}
