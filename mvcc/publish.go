package mvcc

import (
	"runtime"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// sequencer gives commits their sequences and publishes them, in one step (M1): the holder of its latch takes the next
// sequence, checks what its transaction depends on, makes the new versions the heads of their chains, hands the record
// to the log (W7), and publishes. All the work that takes time, resolving above all, is done before, under the latches
// of the chains alone.
//
// So the sequence of a commit is the moment at which all that it read was valid: no sequence is wasted, none is
// published early, and two write-skewed transactions cannot validate past each other (M4).
//
// Rejected: sequences that are taken early, validated, and published in order from a ring (Silo's order). Each commit
// then wrote seven cache lines that other processors write, too, instead of four, and could have to wait for a
// neighbour that had lost its processor.
type sequencer struct {
	latch     latch
	published atomic.Uint64 // block.Seq; written under the latch
	_         [48]byte
}

// Published is the sequence of the newest snapshot.
func (s *Store) Published() block.Seq { return block.Seq(s.order.published.Load()) }

// sequence gives a transaction that is resolved its sequence, and publishes it. It reports whether what the
// transaction depends on is unchanged, and there is room for it; if not, nothing has happened. The latches of the
// chains that it writes are held.
//
// A store that has ended, or whose log has failed, refuses: the latch orders this with Close, and a commit that got
// its sequence before a flush failed is in doubt.
func (tx *Tx) sequence() (bool, error) {
	s := tx.s
	s.order.latch.lock()
	defer s.order.latch.unlock()
	if err := s.Err(); err != nil && !mutant.Off(mutant.CommitAfterEnd) {
		return false, err
	}
	if !mutant.Off(mutant.M4) && !tx.validate() {
		return false, nil
	}
	if err := s.durability.fits(tx); err != nil {
		return false, err
	}
	seq := s.Published() + 1
	if !mutant.Off(mutant.PanicTrace) {
		tx.callSequenced(seq)
	}
	for i, t := range tx.writes {
		if t.next != nil {
			s.durability.changed(t.chain)
			if t.tag != (Tag{}) {
				t.chain.tag = t.tag
			}
			t.next.seq = seq
			t.chain.head.Store(t.next)
			t.next = nil
		}
		if i == 0 && mutant.Off(mutant.M1) {
			s.order.published.Store(uint64(seq))
			runtime.Gosched()
		}
	}
	if mutant.Off(mutant.PanicTrace) {
		tx.callSequenced(seq)
	}
	if len(tx.freed) > 0 {
		s.durability.freed(tx.freed, seq)
	}
	tx.raiseGroups(seq)
	s.durability.append(tx, seq)
	s.order.published.Store(uint64(seq))
	tx.seq = seq
	return true, nil
}

// callSequenced runs the caller's functions, before anything of the commit is in place: one that panics leaves no trace
// of it (M7).
func (tx *Tx) callSequenced(seq block.Seq) {
	for _, do := range tx.sequenced {
		do(seq)
	}
}
