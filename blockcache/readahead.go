package blockcache

import "sync/atomic"

// Readahead watches which parts of a device are read, and has the operating system read on where a pattern shows: a
// second read in the same window of the device, or one in the next window. Unlike the kernel's readahead, which
// watches one file at a time, it sees that small files, directories and inodes that are read one after the other lie
// one after the other, too. A single read in a place of its own costs no more than itself.
type Readahead struct {
	device Adviser
	size   int64
	slots  []atomic.Uint64 // a window's number and its state; windows share slots
}

const (
	windowSize  = 256 << 10
	windowSlots = 8192
)

// States of a window, in the two lowest bits of its slot.
const (
	unknown = iota
	touched // read once
	advised // being read ahead, and not reached yet
	entered // being read ahead, and reached
)

// NewReadahead watches a device. A nil Readahead, or one of a device that takes no advice, does nothing.
func NewReadahead(d Device) *Readahead {
	a, ok := d.(Adviser)
	if !ok {
		return nil
	}
	return &Readahead{device: a, size: d.Size(), slots: make([]atomic.Uint64, windowSlots)}
}

// Touch announces that n bytes at offset are about to be read.
func (r *Readahead) Touch(offset, n int64) {
	if r == nil {
		return
	}
	last := (offset + max(n, 1) - 1) / windowSize
	for w := offset / windowSize; w <= last; w++ {
		switch state := r.state(w); {
		case state == entered:
		case state == advised:
			r.set(w, entered)
			r.advise(w+1, advised)
		case n >= windowSize/8 || w > 0 && r.state(w-1) >= touched:
			r.advise(w, entered)
			r.advise(w+1, advised)
		case state == touched:
			r.advise(w, entered)
		default:
			r.set(w, touched)
		}
	}
}

func (r *Readahead) state(w int64) uint64 {
	if v := r.slots[w%windowSlots].Load(); int64(v>>2) == w {
		return v & 3
	}
	return unknown
}

func (r *Readahead) set(w int64, state uint64) {
	r.slots[w%windowSlots].Store(uint64(w)<<2 | state)
}

// advise reads window w ahead unless that was done already.
func (r *Readahead) advise(w int64, state uint64) {
	if known := r.state(w); known >= advised {
		return
	}
	r.set(w, state)
	if at := w * windowSize; at < r.size {
		r.device.Advise(at, min(windowSize, r.size-at))
	}
}
