package mvcc

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// ringSize is how many commits may have a sequence and not be published yet.
const ringSize = 4096

// publisher publishes sequences in order (M1): each commit leaves its sequence in a ring when it has installed, and whoever finds the
// next one there goes on from it. The log takes the records in the same order (W7).
//
// Rejected: a lock around the commit itself, which every commit would wait for; and a goroutine that publishes, which costs two
// switches a commit.
type publisher struct {
	published atomic.Uint64 // block.Seq
	_         [56]byte
	busy      atomic.Bool // somebody publishes
	_         [63]byte
	ring      [ringSize]finished
}

// at is the place of a sequence in the ring. Neighbours are not on one cache line: two processors finish them at a time.
func (p *publisher) at(seq uint64) *finished {
	return &p.ring[seq%64*64+seq/64%64]
}

type finished struct {
	seq    atomic.Uint64 // the sequence that has finished here last
	record []byte        // for the log; valid until seq is published
}

// Published is the sequence of the newest snapshot.
func (s *Store) Published() block.Seq { return block.Seq(s.pub.published.Load()) }

// reserve waits until the ring has room for a sequence.
func (s *Store) reserve(seq block.Seq) {
	for uint64(seq)-s.pub.published.Load() >= ringSize {
		runtime.Gosched()
	}
}

// publish marks a sequence as finished and returns when it is published.
func (s *Store) publish(seq block.Seq, record []byte) {
	p := &s.pub
	f := p.at(uint64(seq))
	f.record = record
	f.seq.Store(uint64(seq))
	for spins := 0; ; spins++ {
		s.advance()
		if p.published.Load() >= uint64(seq) {
			return
		}
		// An earlier commit is between its sequence and here, where it waits for nothing but a processor.
		switch {
		case spins < 500:
		case spins < 1500:
			runtime.Gosched()
		default:
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// advance publishes what can be.
func (s *Store) advance() {
	p := &s.pub
	for {
		next := p.published.Load() + 1
		if p.at(next).seq.Load() != next || !p.busy.CompareAndSwap(false, true) {
			return
		}
		next = p.published.Load() + 1
		for p.at(next).seq.Load() == next {
			if s.log != nil {
				s.log.Append(p.at(next).record, block.Seq(next))
			}
			p.published.Store(next)
			next++
		}
		p.busy.Store(false)
	}
}
