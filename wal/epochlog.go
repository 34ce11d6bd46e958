package wal

import (
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// EpochLog makes epochs of whole, sealed blocks durable: a Journal, or Unlogged where there is none. Of its methods
// Blocks, Largest, Bytes and FlushTime may be called at any time; of the others the caller makes one call at a time.
type EpochLog interface {
	// Fits reports whether there is room for an epoch of so many images, which frees blocks.
	Fits(images int, freed []block.Number) bool
	// Commit makes an epoch durable. With ordered set, what was written home before is durable first (W3).
	Commit(images []Image, freed []block.Number, ordered bool) error
	// Home reports whether the images of an epoch are home when Commit returns.
	Home() bool
	// Next is the sequence of the epoch that is written next; Trim gives up those before a sequence, which are home, and
	// flushed (J4).
	Next() jbd2.Sequence
	Trim(before jbd2.Sequence) error
	// Abort notes for the next mount that the log's use ends with an error.
	Abort()

	Blocks() int  // room
	Used() int    // of it
	Largest() int // images of one epoch
	Bytes() uint64
	FlushTime() time.Duration
}
