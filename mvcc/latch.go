package mvcc

import (
	"runtime"
	"sync/atomic"
)

// latch is held for the few hundred nanoseconds of an install; never across input or output, and never while its
// holder waits for anything but another latch of a higher block number, or the sequencer's.
//
// Rejected: sync.Mutex. With more writers than cores it falls into its starvation mode, in which each commit costs a
// switch of goroutines.
//
// A caller that finds it held backs off for longer and longer: meanwhile the holder's processor commits on, with the
// block in its own cache. Taking turns instead moves a block's sixty-odd cache lines over for each commit, and was
// three times slower on two processors.
type latch struct{ held atomic.Bool }

func (l *latch) lock() {
	for pause := 64; l.held.Load() || !l.held.CompareAndSwap(false, true); pause *= 2 {
		if pause > 1<<14 {
			runtime.Gosched()
			pause = 1 << 12
		}
		backOff(pause)
	}
}

// backOff does nothing for about a third of a nanosecond a turn.
//
//go:noinline
func backOff(turns int) {
	for range turns {
	}
}

func (l *latch) unlock() { l.held.Store(false) }
