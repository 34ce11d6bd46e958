package stress

import (
	"sync"
)

// Txn is a transaction of a recorded history.
type Txn struct {
	ID        int
	Session   int // who ran it, one after the other
	Committed bool
	Begin     int64 // nanoseconds; when it was called
	End       int64 // when it returned
	Ops       []Op
}

// Op is a read or a write of one key. Each value is written once in a history; 0 is what a key holds at first.
type Op struct {
	Write bool
	Key   uint64
	Value uint64
	Prev  uint64 // of a write: the value that the transaction read there before
}

// recorder takes down a history, up to a bound.
type recorder struct {
	mu   sync.Mutex
	txns []Txn // guarded by mu
	max  int
}

// full reports whether the bound is reached: a history must have no gaps, so that recording ends everywhere then.
func (r *recorder) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.txns) >= r.max
}

func (r *recorder) add(t Txn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.ID = len(r.txns)
	r.txns = append(r.txns, t)
}
