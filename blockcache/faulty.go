package blockcache

import (
	"sync"
	"syscall"
)

// Fault is a way in which a device fails.
type Fault int

// The faults of Faulty.
const (
	NoFault    Fault = iota
	ReadError        // EIO
	WriteError       // EIO, nothing written
	FlushError       // EIO
	ShortWrite       // half is written, then EIO
	NoSpace          // ENOSPC, nothing written
	FlippedBit       // one bit of the bytes read is wrong
)

func (f Fault) String() string {
	return [...]string{"no fault", "read error", "write error", "flush error", "short write", "no space", "flipped bit"}[f]
}

// Faulty is a device that fails on purpose, for tests.
type Faulty struct {
	Writable
	mu    sync.Mutex
	fault Fault // guarded by mu
	after int   // guarded by mu: calls of the fault's kind that still succeed
	last  bool  // guarded by mu: fail once only
}

// NewFaulty wraps a device that works until Fail is called.
func NewFaulty(d Writable) *Faulty { return &Faulty{Writable: d} }

// Fail makes the calls that a fault concerns fail after some more have succeeded: once, or from then on.
func (f *Faulty) Fail(fault Fault, after int, once bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.after, f.last = fault, after, once
}

func (f *Faulty) hit(of ...Fault) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range of {
		if f.fault != o {
			continue
		}
		if f.after > 0 {
			f.after--
			continue
		}
		if f.last {
			f.fault = NoFault
		}
		return o
	}
	return NoFault
}

// ReadAt follows io.ReaderAt.
func (f *Faulty) ReadAt(p []byte, offset int64) (int, error) {
	switch f.hit(ReadError, FlippedBit) {
	case ReadError:
		return 0, syscall.EIO
	case FlippedBit:
		n, err := f.Writable.ReadAt(p, offset)
		if n > 0 {
			p[n/2] ^= 0x10
		}
		return n, err
	}
	return f.Writable.ReadAt(p, offset)
}

// WriteAt follows io.WriterAt.
func (f *Faulty) WriteAt(p []byte, offset int64) (int, error) {
	switch f.hit(WriteError, ShortWrite, NoSpace) {
	case WriteError:
		return 0, syscall.EIO
	case NoSpace:
		return 0, syscall.ENOSPC
	case ShortWrite:
		n, _ := f.Writable.WriteAt(p[:len(p)/2], offset)
		return n, syscall.EIO
	}
	return f.Writable.WriteAt(p, offset)
}

// Sync follows Writable.
func (f *Faulty) Sync() error {
	if f.hit(FlushError) == FlushError {
		return syscall.EIO
	}
	return f.Writable.Sync()
}
