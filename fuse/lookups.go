package fuse

import (
	"sync"

	"github.com/varvefs/varve/internal/mutant"
)

// lookups counts the references that the kernel has to each node: one for each reply that names it
// (Documentation/filesystems/fuse, FORGET). A FORGET says how many of them it gives back. Only when all are back does
// the kernel not use the inode: replies that went out while the FORGET was on its way keep it. The zero value is ready.
type lookups struct {
	shards [64]struct {
		mu    sync.Mutex
		count map[uint64]uint64 // guarded by mu
	}
}

// add notes that a reply names a node. It comes before the reply is sent. A nil table counts nothing.
func (l *lookups) add(id uint64) {
	if l == nil {
		return
	}
	s := &l.shards[id%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = map[uint64]uint64{}
	}
	s.count[id]++
}

// forget takes references back, and reports whether none is left.
func (l *lookups) forget(id, n uint64) bool {
	s := &l.shards[id%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[id] > n && !mutant.Off(mutant.ForgetCount) {
		s.count[id] -= n
		return false
	}
	delete(s.count, id)
	return true
}

// all are the nodes that the kernel has references to.
func (l *lookups) all() (ids []uint64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for id := range s.count {
			ids = append(ids, id)
		}
		s.mu.Unlock()
	}
	return ids
}

// none reports whether the kernel has no reference to a node.
func (l *lookups) none(id uint64) bool {
	s := &l.shards[id%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[id] == 0 || mutant.Off(mutant.ForgetCount)
}
