package mvcc

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
)

// registry knows the live snapshots: one slot a transaction object, packed so that looking at all of them touches few
// cache lines. A slot is the snapshot's sequence plus one, or zero.
//
// A snapshot is taken by writing the published sequence into the slot and then reading it again: if it has moved on,
// once more. A look for live snapshots reads the published sequence first and the slots after it. So either it sees
// the slot, or the snapshot is at least as new as what it read.
type registry struct {
	mu     sync.Mutex // guards free, and the growing of chunks
	chunks atomic.Pointer[[]*slotChunk]
	used   atomic.Int32 // slots that were ever handed out
	free   []snapshotSlot
}

const chunkSlots = 256

// spread keeps slots that were taken one after the other off one cache line: those are the ones that several
// processors use at a time.
func spread(i int) int { return i%32*8 + i/32 }

type slotChunk struct {
	snaps [chunkSlots]atomic.Uint64
	names [chunkSlots]atomic.Pointer[string]
}

// snapshotSlot is one place of the registry.
type snapshotSlot struct {
	snap *atomic.Uint64
	name *atomic.Pointer[string]
}

// acquire hands out a slot.
func (r *registry) acquire() snapshotSlot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := len(r.free); k > 0 {
		w := r.free[k-1]
		r.free = r.free[:k-1]
		return w
	}
	var chunks []*slotChunk
	if p := r.chunks.Load(); p != nil {
		chunks = *p
	}
	n := int(r.used.Load())
	if n == len(chunks)*chunkSlots {
		chunks = append(slices.Clone(chunks), new(slotChunk))
		r.chunks.Store(&chunks)
	}
	r.used.Store(int32(n + 1))
	c, i := chunks[n/chunkSlots], spread(n%chunkSlots)
	return snapshotSlot{&c.snaps[i], &c.names[i]}
}

func (r *registry) release(w snapshotSlot) {
	w.snap.Store(0)
	r.mu.Lock()
	r.free = append(r.free, w)
	r.mu.Unlock()
}

// eachChunk calls do for the slots in use, a chunk at a time. Slots of chunks that came later belong to snapshots that
// are newer than what the caller has read as published.
func (r *registry) eachChunk(do func(c *slotChunk, n int) bool) {
	p := r.chunks.Load()
	if p == nil {
		return
	}
	n := int(r.used.Load())
	for _, c := range *p {
		if n <= 0 || !do(c, min(n, chunkSlots)) {
			return
		}
		n -= chunkSlots
	}
}

// live appends the live snapshots, in no order. The caller has read the published sequence before.
func (r *registry) live(to []block.Seq) []block.Seq {
	r.eachChunk(func(c *slotChunk, n int) bool {
		for i := range n {
			if s := c.snaps[spread(i)].Load(); s != 0 {
				to = append(to, block.Seq(s-1))
			}
		}
		return true
	})
	return to
}

// anyWithin reports whether a live snapshot is at least from and before to. The caller has read the published
// sequence, and found it to be at least to, before.
func (r *registry) anyWithin(from, to block.Seq) (found bool) {
	low, high := uint64(from)+1, uint64(to)+1
	r.eachChunk(func(c *slotChunk, n int) bool {
		for i := range n {
			if s := c.snaps[spread(i)].Load(); s >= low && s < high {
				found = true
				return false
			}
		}
		return true
	})
	return found
}

// oldest is the oldest live snapshot and its name.
func (r *registry) oldest() (seq block.Seq, name string, ok bool) {
	r.eachChunk(func(c *slotChunk, n int) bool {
		for i := range n {
			s := c.snaps[spread(i)].Load()
			if s == 0 || ok && block.Seq(s-1) >= seq {
				continue
			}
			seq, ok, name = block.Seq(s-1), true, "a transaction without a name"
			if p := c.names[spread(i)].Load(); p != nil {
				name = *p
			}
		}
		return true
	})
	return seq, name, ok
}
