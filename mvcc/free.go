package mvcc

import (
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// Reusable reports whether blocks that a commit freed may be given new contents: the commit outlasts a crash, and
// every live snapshot is at least as new (W4). The store keeps no account of freed blocks: their owner keeps each with
// the sequence of the commit that freed it, as Tx.Sequenced or Outcome.Seq give it.
func (s *Store) Reusable(freed block.Seq) bool {
	if mutant.Off(mutant.W4) {
		return true
	}
	if !s.durability.outlasts(freed) || freed > s.Published() {
		return false
	}
	oldest, _, ok := s.snapshots.oldest()
	return !ok || oldest >= freed
}

// OldestSnapshot is the oldest live snapshot, if there is one: its sequence, and the name of its transaction. Blocks
// that a later commit freed are not Reusable until it ends.
func (s *Store) OldestSnapshot() (seq block.Seq, name string, ok bool) { return s.snapshots.oldest() }
