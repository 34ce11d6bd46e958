package mvcc

import (
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// frees are the blocks that were freed by commits which are not yet durable, or that a snapshot can still read (W4).
type frees struct {
	mu     sync.Mutex
	blocks map[block.Number]block.Seq // guarded by mu
}

func (tx *Tx) recordFrees(seq block.Seq) {
	if len(tx.freed) == 0 {
		return
	}
	if tx.s.durability.freed(tx.freed, seq) {
		return
	}
	f := &tx.s.frees
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blocks == nil {
		f.blocks = map[block.Number]block.Seq{}
	}
	for _, n := range tx.freed {
		f.blocks[n] = seq
	}
}

// Reusable reports whether a block may be given new contents: it was never freed, or its freeing is durable and every live
// snapshot is newer (W4).
func (s *Store) Reusable(n block.Number) bool {
	if mutant.Off(mutant.W4) {
		return true
	}
	s.frees.mu.Lock()
	defer s.frees.mu.Unlock()
	seq, freed := s.frees.blocks[n]
	if !freed {
		return true
	}
	published := s.Published()
	if !s.durability.outlasts(seq) || seq > published {
		return false
	}
	if oldest, _, ok := s.snapshots.oldest(); ok && oldest < seq {
		return false
	}
	delete(s.frees.blocks, n)
	return true
}

// Matured reports whether what a commit freed may be used again: it is durable, and every live snapshot is at least as new (W4).
func (s *Store) Matured(seq block.Seq) bool {
	if mutant.Off(mutant.W4) {
		return true
	}
	if !s.durability.outlasts(seq) || seq > s.Published() {
		return false
	}
	oldest, _, ok := s.snapshots.oldest()
	return !ok || oldest >= seq
}

// Oldest is the name of the oldest live snapshot, if there is one.
func (s *Store) Oldest() (name string, ok bool) {
	_, name, ok = s.snapshots.oldest()
	return name, ok
}

// Pinned tells which freed blocks cannot be used again yet because a snapshot may read them, and the name of the oldest one.
func (s *Store) Pinned() (blocks []block.Number, by string) {
	oldest, name, ok := s.snapshots.oldest()
	if !ok {
		return nil, ""
	}
	s.frees.mu.Lock()
	defer s.frees.mu.Unlock()
	for n, seq := range s.frees.blocks {
		if oldest < seq {
			blocks = append(blocks, n)
		}
	}
	slices.Sort(blocks)
	return blocks, name
}
