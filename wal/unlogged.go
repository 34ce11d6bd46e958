package wal

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Unlogged is the EpochLog of a file system without a journal. Epochs go straight home: file data, a flush, the
// images, a flush, and, where there are any, the late images and a flush. A Commit that returned is durable; a crash
// inside of one leaves any part of its images, torn, and fsck has to repair that.
type Unlogged struct {
	home    blockcache.Writable
	size    block.Size
	largest int
	bytes   atomic.Uint64
	flushed atomic.Int64 // ns that a flush takes, a moving average
}

// NewUnlogged has epochs of at most so many images go to a device.
func NewUnlogged(home blockcache.Writable, size block.Size, largest int) *Unlogged {
	return &Unlogged{home: home, size: size, largest: largest}
}

// Commit follows EpochLog. The images are in ascending order; neighbours are written in one go.
func (u *Unlogged) Commit(images []Image, _ []block.Number, ordered bool) error {
	if ordered && !mutant.Off(mutant.UnloggedData) {
		if err := u.sync(); err != nil {
			return err
		}
		failpoint.At("unlogged", "data")
	}
	var early, late []Image
	for _, i := range images {
		if i.Late {
			late = append(late, i)
		} else {
			early = append(early, i)
		}
	}
	if err := u.writeAll(early); err != nil || len(late) == 0 {
		return err
	}
	failpoint.At("unlogged", "late")
	return u.writeAll(late)
}

// writeAll writes images home, and flushes.
func (u *Unlogged) writeAll(images []Image) error {
	for len(images) > 0 {
		n := 1
		for n < len(images) && n < maxRun && images[n].Number == images[n-1].Number+1 {
			n++
		}
		if err := u.write(images[:n]); err != nil {
			return err
		}
		images = images[n:]
		failpoint.At("unlogged", "home")
	}
	if mutant.Off(mutant.UnloggedFlush) {
		return nil
	}
	return u.sync()
}

// maxRun bounds how many images are copied together for one write.
const maxRun = 64

func (u *Unlogged) write(run []Image) error {
	p := run[0].Data
	if len(run) > 1 {
		p = make([]byte, 0, len(run)*int(u.size))
		for _, i := range run {
			p = append(p, i.Data...)
		}
	}
	if _, err := u.home.WriteAt(p, u.size.Offset(run[0].Number)); err != nil {
		return fmt.Errorf("write %v: %w", run[0].Number, err)
	}
	u.bytes.Add(uint64(len(p)))
	return nil
}

func (u *Unlogged) sync() error {
	began := time.Now()
	if err := u.home.Sync(); err != nil {
		return fmt.Errorf("flush the image: %w", err)
	}
	u.flushed.Add(int64(time.Since(began))/8 - u.flushed.Load()/8)
	return nil
}

// Fits follows EpochLog: there is always room.
func (u *Unlogged) Fits(int, []block.Number) bool { return true }

// Home follows EpochLog.
func (u *Unlogged) Home() bool { return true }

// Next, Trim and Abort follow EpochLog: nothing is kept, and nothing can be noted but that the file system is not
// clean, which its superblock says anyway.
func (u *Unlogged) Next() jbd2.Sequence      { return 0 }
func (u *Unlogged) Trim(jbd2.Sequence) error { return nil } // follows EpochLog
func (u *Unlogged) Abort()                   {}             // follows EpochLog

// Blocks and Used say that it is never full.
func (u *Unlogged) Blocks() int { return 1 }
func (u *Unlogged) Used() int   { return 0 } // see Blocks

// Largest is how many images one epoch may have: they are all in memory until it is written.
func (u *Unlogged) Largest() int { return u.largest }

// Bytes is how many bytes of images were written.
func (u *Unlogged) Bytes() uint64 { return u.bytes.Load() }

// FlushTime is the duration of a flush, a moving average.
func (u *Unlogged) FlushTime() time.Duration { return time.Duration(u.flushed.Load()) }
