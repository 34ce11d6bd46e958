package blockcache

import "github.com/varvefs/varve/internal/block"

// s3fifo holds blocks in three queues (Yang et al., SOSP 2023):
//
//	new ──> small (a quarter) ── read twice more? ──> main ── read since? ──> main's tail again
//	           └── no ──> ghost (numbers only)          └── no ──> out
//	                        └── wanted again ──> main
//
// A scan passes through small and leaves main alone. The paper has a tenth and one more read; but a block of metadata
// holds many inodes or names, so that even a scan reads it several times in a row. docs/cache.md has what was
// measured. The caller holds the shard's lock.
type s3fifo struct {
	capacity int // blocks in small and main together
	table    map[block.Number]*cached
	small    fifo
	main     fifo
	ghosts   ghostQueue
}

// cached is one block in small or main.
type cached struct {
	number block.Number
	data   []byte // nil: dropped
	reads  uint8  // reads since it came or was passed over, up to maxReads
	next   *cached
}

const (
	maxReads     = 3
	promoteReads = 2 // reads in small that lead to main
	smallShare   = 4 // small is one part in this many
)

func newS3FIFO(capacity int) *s3fifo {
	return &s3fifo{capacity: capacity, table: map[block.Number]*cached{}, ghosts: newGhostQueue(capacity)}
}

func (q *s3fifo) len() int { return q.small.n + q.main.n }

// get returns a block's bytes, or nil.
func (q *s3fifo) get(n block.Number) []byte {
	c := q.table[n]
	if c == nil {
		return nil
	}
	if c.reads < maxReads {
		c.reads++
	}
	return c.data
}

// put adds a block that get did not find.
func (q *s3fifo) put(n block.Number, data []byte) {
	if c := q.table[n]; c != nil {
		c.data = data
		return
	}
	for q.len() >= q.capacity {
		q.evict()
	}
	c := &cached{number: n, data: data}
	q.table[n] = c
	if q.ghosts.remove(n) {
		q.main.push(c)
	} else {
		q.small.push(c)
	}
}

// evict moves blocks on until one has left.
func (q *s3fifo) evict() {
	if q.small.n > q.capacity/smallShare || q.main.n == 0 {
		for q.small.n > 0 {
			c := q.small.pop()
			if c.reads < promoteReads {
				delete(q.table, c.number)
				q.ghosts.add(c.number)
				return
			}
			c.reads = 0
			q.main.push(c)
		}
	}
	for {
		c := q.main.pop()
		if c.reads == 0 {
			delete(q.table, c.number)
			return
		}
		c.reads--
		q.main.push(c)
	}
}

// fifo is a queue of blocks, linked through them.
type fifo struct {
	head, tail *cached
	n          int
}

func (f *fifo) push(c *cached) {
	c.next = nil
	if f.tail == nil {
		f.head = c
	} else {
		f.tail.next = c
	}
	f.tail = c
	f.n++
}

func (f *fifo) pop() *cached {
	c := f.head
	f.head = c.next
	if f.head == nil {
		f.tail = nil
	}
	c.next = nil
	f.n--
	return c
}

// ghostQueue remembers the numbers of the blocks that left small last, in a ring.
type ghostQueue struct {
	at   map[block.Number]int // slot of each number
	ring []block.Number
	next int
}

func newGhostQueue(capacity int) ghostQueue {
	return ghostQueue{at: map[block.Number]int{}, ring: make([]block.Number, 0, capacity)}
}

// add remembers n and forgets the oldest number where the ring is full.
func (g *ghostQueue) add(n block.Number) {
	if len(g.ring) < cap(g.ring) {
		g.at[n] = len(g.ring)
		g.ring = append(g.ring, n)
		return
	}
	old := g.ring[g.next]
	if slot, ok := g.at[old]; ok && slot == g.next {
		delete(g.at, old)
	}
	g.ring[g.next] = n
	g.at[n] = g.next
	g.next = (g.next + 1) % len(g.ring)
}

// remove forgets n and reports whether it was remembered.
func (g *ghostQueue) remove(n block.Number) bool {
	_, ok := g.at[n]
	delete(g.at, n)
	return ok
}
