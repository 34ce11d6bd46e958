package mvcc

import (
	"slices"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// chain holds the versions of one block that was changed since it was last dropped.
type chain struct {
	number block.Number
	latch  latch
	head   atomic.Pointer[version]
	hot    atomic.Pointer[contention]

	// Guarded by latch.
	home     block.Seq // the version that is home
	dirty    bool      // on its shard's list of dirty chains
	listed   bool      // on its shard's list of chains with history
	lookedAt bool      // had history when it was looked at last
	idle     bool      // home, and kept for its history only
	dead     bool      // dropped from the index: look again
	inEpoch  bool      // on its shard's list of what the epoch changes
	freed    block.Seq // not 0: was freed up to this commit, maybe before the newest version came home
	tag      Tag       // of the newest version
	history  int       // deltas below the head
	limit    int       // history at which live snapshots are looked at again
	pruned   *delta    // what was on top of the history then
	bytes    int64     // of the deltas

	overCap atomic.Bool // more deltas than the cap
}

// newest acquires the head.
func (c *chain) newest(pool *versionPool) *version {
	for {
		v := c.head.Load()
		if v.acquire() {
			if c.head.Load() == v {
				return v
			}
			v.release(pool)
		}
	}
}

// visible acquires the version that a snapshot sees, if it is whole. Otherwise it acquires the one that the version
// can be made from by its deltas.
func (c *chain) visible(snap block.Seq, pool *versionPool) (v *version, exact bool) {
	for {
		v := c.newest(pool)
		if v.seq <= snap {
			return v, true
		}
		before := v.before.Load()
		if before == nil {
			return v, false
		}
		ok := before.acquire()
		same := v.before.Load() == before
		v.release(pool)
		if ok && same {
			return before, before.seq <= snap
		}
		if ok {
			before.release(pool)
		}
	}
}

// reconstruct makes the version that a snapshot sees in dst. ok is false where history does not reach back that far.
func (v *version) reconstruct(snap block.Seq, dst []byte) (ok bool, err error) {
	copy(dst, v.data)
	for d := v.below.Load(); d != nil; d = d.older {
		if err := d.apply(dst, nil); err != nil {
			return false, err
		}
		if d.seq <= snap {
			return true, nil
		}
	}
	return false, nil
}

// prepare makes next ready to become the head; its changed says where it differs from the old one. The caller holds
// the latch.
func (c *chain) prepare(t *chainTable, next *version) {
	c.idle = false
	c.settle(t)
	head := c.head.Load()
	next.before.Store(head)
	if c.history > c.limit {
		c.prune(t, c.pruned)
		c.limit = c.history + 8
	}
	if !c.listed {
		c.listed, c.lookedAt = true, false
		t.shardOf(c.number).listHistory(c)
	}
}

// settle makes a delta of the version before the head, or drops it where no snapshot sees it (M6). The caller holds
// the latch.
func (c *chain) settle(t *chainTable) {
	head := c.head.Load()
	gone := head.before.Load()
	if gone == nil {
		return
	}
	below := gone.below.Load()
	if t.seesAny(gone.seq, head.seq) {
		d := &delta{seq: gone.seq, older: below, data: encodeDelta(head.changed, gone.data), since: t.clock.Load()}
		c.grow(t, 1, d.bytes())
		below = d
	} else if below != nil && !below.covers(head.changed) {
		below = c.join(t, below, &delta{seq: gone.seq, data: encodeDelta(head.changed, gone.data)})
	}
	head.below.Store(below)
	head.before.Store(nil)
	gone.release(&t.versions)
}

// join composes the delta below with the step that led to it, whose version goes.
func (c *chain) join(t *chainTable, below, step *delta) *delta {
	scratch := t.versions.get()
	defer scratch.release(&t.versions)
	if d, err := compose(below, step, scratch.data); err == nil {
		c.grow(t, 0, d.bytes()-below.bytes())
		return d
	}
	// History that cannot be read is kept as it is, so that reading it says why.
	step.older = below
	c.grow(t, 1, step.bytes())
	return step
}

func (c *chain) grow(t *chainTable, deltas int, bytes int64) {
	c.history += deltas
	c.bytes += bytes
	t.historyBytes.Add(bytes)
	t.historyCount.Add(int64(deltas))
	if long := c.history > t.cap; long != c.overCap.Load() {
		c.overCap.Store(long)
	}
}

// prune drops the deltas that no live snapshot sees exactly (M6), and composes those that remain. Each snapshot keeps
// one version of the block at most. It looks no further than to the delta that was on top when it looked last; nil is
// all of them. The caller holds the latch.
func (c *chain) prune(t *chainTable, until *delta) (dropped int) {
	var buf [chunkSlots]block.Seq
	live := t.snapshots.live(buf[:0])
	slices.Sort(live)
	top := c.head.Load()
	if b := top.before.Load(); b != nil {
		top = b
	}
	var keep []*delta
	var gone *delta // the versions that went, between here and the next newer one that stays
	var scratch []byte
	newer, total, before := top.seq, int64(0), int64(0)
	var rest *delta
	for d := top.below.Load(); d != nil; d = d.older {
		if d == until && gone == nil {
			rest = d
			break
		}
		last := d == until
		before += d.bytes()
		if gone != nil {
			if scratch == nil {
				scratch = make([]byte, t.size)
			}
			m, err := compose(d, gone, scratch)
			if err != nil {
				return 0 // history that cannot be read is kept as it is, so that reading it says why
			}
			d = m
		}
		i, _ := slices.BinarySearch(live, d.seq)
		if i < len(live) && live[i] < newer || mutant.Off(mutant.M6) {
			keep, gone = append(keep, d), nil
			total += d.bytes()
		} else {
			gone = d
			dropped++
		}
		newer = d.seq
		if last && gone == nil {
			rest = d.older
			break
		}
	}
	if dropped > 0 {
		c.rebuild(top, keep, rest)
		c.grow(t, -dropped, total-before)
		t.collected.Add(int64(dropped))
	}
	c.pruned = top.below.Load()
	return dropped
}

// rebuild hangs deltas below a version, newest first, above an older one. Those that readers walk now stay as they
// are.
func (c *chain) rebuild(top *version, keep []*delta, older *delta) {
	for _, d := range slices.Backward(keep) {
		if d.older != older {
			d = &delta{seq: d.seq, older: older, data: d.data, since: d.since, codec: d.codec, tried: d.tried}
		}
		older = d
	}
	top.below.Store(older)
}
