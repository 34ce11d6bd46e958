package mvcc

import (
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
)

// shardCount is the number of parts of a list of chains: commits of different blocks seldom meet in one.
const shardCount = 64

// shardIndex spreads blocks over shards.
func shardIndex(n block.Number) uint64 { return uint64(n) * 0x9e3779b97f4a7c15 >> 32 % shardCount }

// chainList is a list of chains, in no order.
type chainList [shardCount]struct {
	mu     sync.Mutex
	chains []*chain // guarded by mu
	_      [32]byte // keeps the locks of neighbours off one cache line
}

func (l *chainList) add(c *chain) {
	part := &l[shardIndex(c.number)]
	part.mu.Lock()
	part.chains = append(part.chains, c)
	part.mu.Unlock()
}

func (l *chainList) remove(c *chain) {
	part := &l[shardIndex(c.number)]
	part.mu.Lock()
	part.chains = slices.DeleteFunc(part.chains, func(o *chain) bool { return o == c })
	part.mu.Unlock()
}

// take empties the list, and returns what it had.
func (l *chainList) take() (out []*chain) {
	for i := range l {
		part := &l[i]
		part.mu.Lock()
		out = append(out, part.chains...)
		part.chains = nil
		part.mu.Unlock()
	}
	return out
}
