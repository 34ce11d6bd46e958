package ext4

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// EachReplayed calls do for each block whose newest copy is in the journal, in ascending order: written home, they are
// what recovery comes to (W5), but for fast commits (TakeFastCommits).
func (fs *FS) EachReplayed(do func(n block.Number, p []byte) error) error {
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

// JournalPlaces is where each block of the journal lies, on the image or on its own device, and the sequence behind the
// last whole transaction in it.
func (fs *FS) JournalPlaces() ([]block.Number, jbd2.Sequence, error) {
	l, err := fs.openLog()
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
	places[0] = block.Number(l.start) + places[0] // on a device of its own, where the block before is no part of the log
	return places, next, nil
}

// JournalFailed reports whether an error has ended an earlier use of the internal journal, if there is one, without a
// mark of it in the superblock yet.
func (fs *FS) JournalFailed() (bool, error) {
	if fs.super.Compat&disk.CompatHasJournal == 0 || fs.super.JournalIno == 0 {
		return false, nil
	}
	l, err := fs.openLog()
	if err != nil {
		return false, err
	}
	return l.super.Errno != 0, nil
}

// ReplayPrivate reads a journal that is not the image's own, at places of a device with an image of so many blocks, and
// calls do for each block whose newest copy is in it. It returns the sequence behind the last whole transaction.
func ReplayPrivate(
	device io.ReaderAt,
	size block.Size,
	places []block.Number,
	blocks block.Number,
	do func(n block.Number, p []byte) error,
) (jbd2.Sequence, error) {
	l := &log{device: direct{device, size}, limit: blocks, place: func(n uint32) (block.Number, error) {
		if int(n) >= len(places) {
			return 0, ondisk.Corruptf("journal of the overlay", "has no block %d", n)
		}
		return places[n], nil
	}}
	if err := l.readSuper(0); err != nil {
		return 0, err
	}
	if err := l.checkSize(size); err != nil || l.super.Start == 0 {
		return l.super.Sequence, err
	}
	if err := l.scan(); err != nil {
		return 0, err
	}
	for _, n := range slices.Sorted(maps.Keys(l.newest)) {
		p, err := l.readCopy(l.newest[n])
		if err == nil {
			err = do(n, p)
		}
		if err != nil {
			return 0, err
		}
	}
	return l.next, nil
}
