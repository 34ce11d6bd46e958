package ext4

import (
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// EachReplayed calls do for each block whose newest copy is in the journal, in ascending order: written home, they are what recovery comes to (W5).
func (fs *FS) EachReplayed(do func(n block.Number, p []byte) error) error {
	if fs.fast != nil {
		return &ondisk.UnsupportedError{Feature: "a journal with fast commits to recover (for writing)",
			Advice: "let the kernel or e2fsck recover it once, or mount read-only"}
	}
	for _, n := range slices.Sorted(maps.Keys(fs.log.at)) {
		p, err := fs.log.read(fs.log.at[n])
		if err != nil {
			return err
		}
		if err := do(n, p); err != nil {
			return err
		}
	}
	return nil
}

// JournalPlaces is where each block of the internal journal lies, and the sequence behind the last whole transaction in it.
func (fs *FS) JournalPlaces() ([]block.Number, jbd2.Sequence, error) {
	l, err := fs.openLog(nil)
	if err != nil {
		return nil, 0, err
	}
	next := fs.log.next
	if next == 0 {
		next = l.super.Sequence
	}
	var places []block.Number
	for b := uint32(0); b < l.super.Blocks; b++ {
		at, err := l.place(b)
		if err != nil {
			return nil, 0, fmt.Errorf("journal block %d: %w", b, err)
		}
		places = append(places, at)
	}
	return places, next, nil
}
