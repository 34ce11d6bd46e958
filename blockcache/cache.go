package blockcache

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/varvefs/varve/internal/block"
)

// Cache keeps clean blocks of a device, up to a bound in bytes.
//
// Each block belongs to one shard, and readers of different shards never meet: a shard has its own lock, queues and
// share of the bound. Concurrent misses of one block read the device once. S3-FIFO decides what stays
// (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): docs/cache.md has the comparison with
// ARC and W-TinyLFU on traces of real mounts that this choice rests on.
type Cache struct {
	device io.ReaderAt
	ahead  *Readahead
	size   block.Size
	shards []shard
	mask   uint64
}

const (
	maxShards      = 64
	minShardBlocks = 32 // fewer blocks a shard make its queues meaningless
)

// NewCache makes a cache of blocks of the given size in front of a device, bounded to limit bytes of block contents.
// Misses are reported to ahead, which may be nil.
func NewCache(device io.ReaderAt, ahead *Readahead, size block.Size, limit int64) *Cache {
	blocks := max(int(limit/int64(size)), 1)
	n := 1
	for n < maxShards && blocks/(2*n) >= minShardBlocks {
		n *= 2
	}
	c := &Cache{device: device, ahead: ahead, size: size, shards: make([]shard, n), mask: uint64(n - 1)}
	for i := range c.shards {
		c.shards[i].queues = newS3FIFO(max(blocks/n, 1))
		c.shards[i].loads = map[block.Number]*load{}
	}
	return c
}

// shard is the part of the cache that the blocks with the same hash share.
type shard struct {
	mu           sync.Mutex // guards the rest; never held across a read of the device
	queues       *s3fifo
	loads        map[block.Number]*load
	hits, misses uint64
	_            [64]byte // keeps the locks of neighbours off one cache line
}

// load is a read of the device that is under way, and that all readers of its block wait for.
type load struct {
	done chan struct{} // closed when data and err are set
	data []byte
	err  error
}

// ReadBlock returns block n, from the cache or the device. The bytes are immutable and stay valid after the block left
// the cache. A block that cannot be read in full is an error, and is read again the next time.
func (c *Cache) ReadBlock(n block.Number) ([]byte, error) {
	s := &c.shards[c.shardOf(n)]
	s.mu.Lock()
	if p := s.queues.get(n); p != nil {
		s.hits++
		s.mu.Unlock()
		return p, nil
	}
	if l := s.loads[n]; l != nil {
		s.hits++
		s.mu.Unlock()
		<-l.done
		return l.data, l.err
	}
	l := &load{done: make(chan struct{})}
	s.loads[n] = l
	s.misses++
	s.mu.Unlock()

	l.data, l.err = c.read(n)

	s.mu.Lock()
	if s.loads[n] == l { // else Put has a newer one
		delete(s.loads, n)
		if l.err == nil {
			s.queues.put(n, l.data)
		}
	}
	s.mu.Unlock()
	close(l.done)
	return l.data, l.err
}

// Put replaces the cached contents of block n, after the device got the same bytes. A load of the block that began
// before is not put into the cache. The caller keeps the bytes immutable.
func (c *Cache) Put(n block.Number, data []byte) {
	s := &c.shards[c.shardOf(n)]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, n)
	s.queues.put(n, data)
}

// Drop forgets a block, after the device got other bytes. A load of the block that began before is not put into the
// cache.
func (c *Cache) Drop(n block.Number) {
	s := &c.shards[c.shardOf(n)]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, n)
	if held := s.queues.table[n]; held != nil {
		held.data = nil // it leaves its queue in its turn
	}
}

// shardOf spreads neighbours over the shards, and blocks a power of two apart, too.
func (c *Cache) shardOf(n block.Number) uint64 {
	return uint64(n) * 0x9e3779b97f4a7c15 >> 32 & c.mask
}

func (c *Cache) read(n block.Number) ([]byte, error) {
	c.ahead.Touch(c.size.Offset(n), int64(c.size))
	p := make([]byte, c.size)
	got, err := c.device.ReadAt(p, c.size.Offset(n))
	if got == len(p) {
		return p, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("read %v: %w", n, err)
}

// Stats are the counters of the cache. A reader that waits for another one's read of the same block counts as a hit.
type Stats struct {
	Hits, Misses uint64
	Blocks       int // held now
}

// Stats sums up the shards.
func (c *Cache) Stats() Stats {
	var out Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		out.Hits += s.hits
		out.Misses += s.misses
		out.Blocks += s.queues.len()
		s.mu.Unlock()
	}
	return out
}
