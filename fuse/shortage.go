package fuse

import (
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/internal/mutant"
)

// shortage are the files of which gathered writes found no room. With the writeback cache write(2) ends in the page
// cache, and only fsync and close report that it failed later; a program that calls neither would write for ever. So
// such a file's attributes are made invalid: the kernel then asks for them before the next write(2), naming the open
// file, which only writes do, and gives the error that it gets to the writer (fs/fuse/file.c, fuse_cache_write_iter).
//
// The first refusals of a file are one for each failure, so that a program that heeds them may still overwrite what is
// allocated. One that goes on regardless is refused until there is room. Rejected: refusing at once until there is
// room, which keeps databases from rolling back.
type shortage struct {
	known atomic.Int32 // files in of

	mu sync.Mutex // guards of
	of map[uint64]*short
}

// short is a file of which writes failed.
type short struct {
	need      int64 // bytes that the last of them had no room for
	pending   bool  // an error is due to the writer
	refused   int   // writes, so far
	notifying bool
}

// patience is how many errors a writer gets before all of its writes are refused.
const patience = 8

// failed notes that a gathered write had no room for so many bytes. It reports whether the kernel is to be notified,
// which is then followed by notified.
func (s *shortage) failed(id uint64, need int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[uint64]*short{}
	}
	f := s.of[id]
	if f == nil {
		f = &short{}
		s.of[id] = f
		s.known.Store(int32(len(s.of)))
	}
	f.need, f.pending = need, true
	if f.notifying {
		return false
	}
	f.notifying = true
	return true
}

func (s *shortage) notified(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.of[id]; f != nil {
		f.notifying = false
	}
}

// refuses reports whether a write(2) that is about to be gathered is refused.
func (s *shortage) refuses(id uint64, room func(bytes int64) bool) bool {
	if s.known.Load() == 0 || mutant.Off(mutant.GatheredRoom) {
		return false
	}
	s.mu.Lock()
	f := s.of[id]
	if f == nil || !f.pending {
		s.mu.Unlock()
		return false
	}
	need := f.need
	s.mu.Unlock()
	if room(need) {
		s.forget(id)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.refused++
	f.pending = f.refused >= patience
	return true
}

// forget forgets a file: there is room, or it is not in use.
func (s *shortage) forget(id uint64) {
	if s.known.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
	s.known.Store(int32(len(s.of)))
}
