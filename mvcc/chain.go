package mvcc

import (
	"runtime"
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
	tag      Tag       // of the newest version
	history  int       // deltas below the head
	limit    int       // history at which live snapshots are looked at again
	pruned   *delta    // what was on top of the history then
	bytes    int64     // of the deltas

	overCap atomic.Bool // more deltas than the cap
}

// latch is held for the few hundred nanoseconds of an install; never across input or output, and never while its holder
// waits for anything but another latch of a higher block number, or the sequencer's.
//
// Rejected: sync.Mutex. With more writers than cores it falls into its starvation mode, in which each commit costs a switch
// of goroutines.
//
// Who finds it held looks away for longer and longer: meanwhile the holder's processor commits on, with the block in its own cache. Taking
// turns instead moves a block's sixty-odd cache lines over for each commit, and was three times slower on two processors.
type latch struct{ held atomic.Bool }

func (l *latch) lock() {
	for pause := 64; l.held.Load() || !l.held.CompareAndSwap(false, true); pause *= 2 {
		if pause > 1<<14 {
			runtime.Gosched()
			pause = 1 << 12
		}
		backOff(pause)
	}
}

// backOff does nothing for about a third of a nanosecond a turn.
//
//go:noinline
func backOff(turns int) {
	for range turns {
	}
}

func (l *latch) unlock() { l.held.Store(false) }

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

// visible acquires the version that a snapshot sees, if it is whole. Otherwise it acquires the one that the version can be made
// from by its deltas.
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

// prepare makes next ready to become the head; its changed says where it differs from the old one. The caller holds the latch.
func (c *chain) prepare(s *Store, next *version) {
	c.idle = false
	c.settle(s)
	head := c.head.Load()
	next.before.Store(head)
	if c.history > c.limit {
		c.prune(s, c.pruned)
		c.limit = c.history + 8
	}
	if !c.listed {
		c.listed, c.lookedAt = true, false
		s.shardOf(c.number).listHistory(c)
	}
}

// settle makes a delta of the version before the head, or drops it where no snapshot sees it (M6). The caller holds the latch.
func (c *chain) settle(s *Store) {
	head := c.head.Load()
	gone := head.before.Load()
	if gone == nil {
		return
	}
	below := gone.below.Load()
	if s.seesAny(gone.seq, head.seq) {
		d := &delta{seq: gone.seq, older: below, data: encodeDelta(head.changed, gone.data), since: s.clock.Load()}
		c.grow(s, 1, d.bytes())
		below = d
	} else if below != nil && !below.covers(head.changed) {
		below = c.join(s, below, &delta{seq: gone.seq, data: encodeDelta(head.changed, gone.data)})
	}
	head.below.Store(below)
	head.before.Store(nil)
	gone.release(&s.versions)
}

// join composes the delta below with the step that led to it, whose version goes.
func (c *chain) join(s *Store, below, step *delta) *delta {
	scratch := s.versions.get()
	defer scratch.release(&s.versions)
	if d, err := compose(below, step, scratch.data); err == nil {
		c.grow(s, 0, d.bytes()-below.bytes())
		return d
	}
	// History that cannot be read is kept as it is, so that reading it says why.
	step.older = below
	c.grow(s, 1, step.bytes())
	return step
}

func (c *chain) grow(s *Store, deltas int, bytes int64) {
	c.history += deltas
	c.bytes += bytes
	s.historyBytes.Add(bytes)
	s.historyCount.Add(int64(deltas))
	if long := c.history > s.opts.ChainCap; long != c.overCap.Load() {
		c.overCap.Store(long)
	}
}

// seesAny reports whether the version from seq to below next must be kept (M6): a live snapshot sees it. next is published, because
// whoever made it held the chain's latch until it was; so none that is yet to be taken can see seq. With very many snapshots it does not look and says yes: prune looks for several versions at a time.
func (s *Store) seesAny(seq, next block.Seq) bool {
	return mutant.Off(mutant.M6) || s.snapshots.used.Load() > chunkSlots || s.snapshots.anyWithin(seq, next)
}

// prune drops the deltas that no live snapshot sees exactly (M6), and composes those that remain. Each snapshot keeps one
// version of the block at most. It looks no further than to the delta that was on top when it looked last; nil is all of them.
// The caller holds the latch.
func (c *chain) prune(s *Store, until *delta) (dropped int) {
	var buf [chunkSlots]block.Seq
	live := s.snapshots.live(buf[:0])
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
				scratch = make([]byte, s.size)
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
		c.grow(s, -dropped, total-before)
		s.stats.collected.Add(int64(dropped))
	}
	c.pruned = top.below.Load()
	return dropped
}

// rebuild hangs deltas below a version, newest first, above an older one. Those that readers walk now stay as they are.
func (c *chain) rebuild(top *version, keep []*delta, older *delta) {
	for _, d := range slices.Backward(keep) {
		if d.older != older {
			d = &delta{seq: d.seq, older: older, data: d.data, since: d.since, codec: d.codec, tried: d.tried}
		}
		older = d
	}
	top.below.Store(older)
}
