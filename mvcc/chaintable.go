package mvcc

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// chainTable holds the chains of the blocks that were changed, counts what they take, and lists those with work to do.
type chainTable struct {
	size      block.Size
	cap       int // deltas of one chain above which its writers are held back
	pack      PackPolicy
	index     *xsync.MapOf[block.Number, *chain]
	shards    [shardCount]shard
	dirty     chainList // changed since the last checkpoint
	versions  versionPool
	snapshots *registry

	_            [64]byte     // keeps the counters off the cache line of what commits only read
	clock        atomic.Int64 // coarse, nanoseconds
	count        atomic.Int64 // chains
	historyBytes atomic.Int64
	historyCount atomic.Int64
	collected    atomic.Int64 // versions
}

func (t *chainTable) init(o Options, snapshots *registry) {
	t.size, t.cap, t.pack, t.snapshots = o.BlockSize, o.ChainCap, o.Pack, snapshots
	t.index = xsync.NewMapOf[block.Number, *chain]()
	t.versions = versionPool{new(sync.Pool), o.BlockSize}
	t.clock.Store(time.Now().UnixNano())
}

// shard is the part of the bookkeeping that blocks with the same hash share. Chains are found without it.
type shard struct {
	mu      sync.Mutex
	history []*chain // with more than one version, not looked at yet
	kept    []*chain // with history that live snapshots kept; guarded by collector.mu
	_       [8]byte
}

func (t *chainTable) shardOf(n block.Number) *shard { return &t.shards[shardIndex(n)] }

func (sh *shard) listHistory(c *chain) {
	sh.mu.Lock()
	sh.history = append(sh.history, c)
	sh.mu.Unlock()
}

// of finds a block's chain, or makes one whose first version is base.
func (t *chainTable) of(n block.Number, base []byte) *chain {
	if c, ok := t.index.Load(n); ok {
		return c
	}
	c, _ := t.index.LoadOrCompute(n, func() *chain {
		c := &chain{number: n, limit: 8}
		v := &version{data: base, lent: true}
		v.refs.Store(1)
		c.head.Store(v)
		t.count.Add(1)
		return c
	})
	return c
}

// retire takes a chain out of the index. The caller holds the latch.
func (t *chainTable) retire(c *chain) {
	c.dead = true
	t.index.Delete(c.number)
	t.count.Add(-1)
}

// takeDirty takes the chains that were changed since the last checkpoint, in the order of their blocks.
func (t *chainTable) takeDirty() []*chain {
	out := t.dirty.take()
	slices.SortFunc(out, func(a, b *chain) int { return cmp.Compare(a.number, b.number) })
	return out
}

// relist puts chains back that a failed checkpoint had taken.
func (t *chainTable) relist(dirty []*chain) {
	for _, c := range dirty {
		t.dirty.add(c)
	}
}

// seesAny reports whether the version from seq to below next must be kept (M6): a live snapshot sees it. The caller
// holds the latch of the chain, as the commit of next did until next was published: no later snapshot can see seq.
// With very many snapshots it does not look and reports true: prune looks for several versions at a time.
func (t *chainTable) seesAny(seq, next block.Seq) bool {
	return mutant.Off(mutant.M6) || t.snapshots.used.Load() > chunkSlots || t.snapshots.anyWithin(seq, next)
}

// memory is the size of versions and history in memory, in bytes. Each chain has two whole versions.
func (t *chainTable) memory() int64 { return t.count.Load()*2*int64(t.size) + t.historyBytes.Load() }

// awaitCommit waits for a commit of a block that is under way: a transaction that latches the chain after this finds
// the block's wait queue.
func (t *chainTable) awaitCommit(n block.Number) {
	if c, ok := t.index.Load(n); ok {
		c.latch.lock()
		c.latch.unlock()
	}
}

// check verifies the chain of a block: versions in order, history that can be read, counters that agree.
func (t *chainTable) check(n block.Number, c *chain) error {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return nil
	}
	if c.number != n {
		return fmt.Errorf("the chain of %v is listed as that of %v", c.number, n)
	}
	top := c.head.Load()
	if b := top.before.Load(); b != nil {
		if b.seq >= top.seq {
			return fmt.Errorf("%v: version %d lies above version %d", n, top.seq, b.seq)
		}
		top = b
	}
	newer, count, scratch := top.seq, 0, make([]byte, t.size)
	for d := top.below.Load(); d != nil; d = d.older {
		if d.seq >= newer {
			return fmt.Errorf("%v: version %d lies above version %d", n, newer, d.seq)
		}
		if err := d.apply(scratch, nil); err != nil {
			return fmt.Errorf("%v: version %d cannot be made: %w", n, d.seq, err)
		}
		newer = d.seq
		count++
	}
	if count != c.history {
		return fmt.Errorf("%v: %d old versions, counted as %d", n, count, c.history)
	}
	return nil
}
