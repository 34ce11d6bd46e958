package blockcache

import (
	"math/rand/v2"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// consistent checks that table, queues and counts agree.
func (q *s3fifo) consistent(t *testing.T) {
	t.Helper()
	n := 0
	for _, f := range []*fifo{&q.small, &q.main} {
		count := 0
		for c := f.head; c != nil; c = c.next {
			if q.table[c.number] != c {
				t.Fatalf("%v is queued, and not in the table", c.number)
			}
			if c.next == nil && f.tail != c {
				t.Fatal("a queue's tail is not its last block")
			}
			count++
		}
		if count != f.n {
			t.Fatalf("a queue of %d blocks counts %d", count, f.n)
		}
		n += count
	}
	if n != len(q.table) || n > q.capacity {
		t.Fatalf("%d blocks are queued, %d in the table, the capacity is %d", n, len(q.table), q.capacity)
	}
	if len(q.ghosts.ring) > cap(q.ghosts.ring) || len(q.ghosts.at) > len(q.ghosts.ring) {
		t.Fatalf("%d ghosts in a ring of %d", len(q.ghosts.at), len(q.ghosts.ring))
	}
}

// TestS3FIFO_Random: after any sequence of calls the queues agree, and a block that is found has its own bytes.
func TestS3FIFO_Random(t *testing.T) {
	for _, capacity := range []int{1, 2, 5, 32} {
		rng := rand.New(rand.NewPCG(1, uint64(capacity)))
		q := newS3FIFO(capacity)
		for range 5000 {
			n := block.Number(rng.IntN(3 * capacity))
			if p := q.get(n); p == nil {
				q.put(n, []byte{byte(n)})
			} else if p[0] != byte(n) {
				t.Fatalf("block %d has the bytes of %d", n, p[0])
			}
			q.consistent(t)
		}
	}
}

// TestS3FIFO_Promotion: a block that is read twice in small moves to main; one that is not becomes a ghost, and goes
// to main when it comes again.
func TestS3FIFO_Promotion(t *testing.T) {
	q := newS3FIFO(8)
	q.put(1, []byte{1})
	q.put(2, []byte{2})
	for range promoteReads {
		q.get(1)
	}
	for n := block.Number(10); n < 18; n++ {
		q.put(n, []byte{byte(n)})
	}
	if q.get(1) == nil {
		t.Error("a block that was read twice has gone")
	}
	if q.get(2) != nil {
		t.Fatal("a block that nothing has read is still there")
	}
	before := q.main.n
	q.put(2, []byte{2})
	if q.main.n != before+1 {
		t.Error("a ghost that came again is not in main")
	}
	q.consistent(t)
}

// TestGhostQueue_Ring: the ring forgets the oldest number, and each number once.
func TestGhostQueue_Ring(t *testing.T) {
	g := newGhostQueue(3)
	for n := range block.Number(4) {
		g.add(n)
	}
	for n, want := range map[block.Number]bool{0: false, 1: true, 2: true, 3: true} {
		if got := g.remove(n); got != want {
			t.Errorf("%d is remembered: %v, want %v", n, got, want)
		}
		if g.remove(n) {
			t.Errorf("%d is remembered twice", n)
		}
	}
}
