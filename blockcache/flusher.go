package blockcache

import (
	"sync"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
)

// flusher runs one flush of a device at a time. A caller waits for a flush that began after its call: all that was
// written before the call is durable then. The first error is final, and every caller sees it: Linux reports a failed
// writeback once to each open file (fsync(2)), and drops what it could not write.
type flusher struct {
	mu      sync.Mutex // guards the rest
	ended   sync.Cond
	running bool
	begun   uint64 // flushes that have begun
	done    uint64 // the last one that has ended
	err     error  // of the first flush that failed
}

// do returns when a flush that began after the call has ended.
func (f *flusher) do(flush func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended.L = &f.mu
	for mine := f.begun + 1; f.err == nil && f.done < mine; {
		if f.running {
			f.ended.Wait()
			continue
		}
		f.running = true
		f.begun++
		f.mu.Unlock()
		yield.At("device flush")
		err := flush()
		f.mu.Lock()
		f.running, f.done = false, f.begun
		f.ended.Broadcast()
		if err != nil && mutant.Off(mutant.SyncError) {
			return err
		}
		if err != nil {
			f.err = err
		}
	}
	return f.err
}
