package mvcc

import (
	"slices"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/yield"
)

// PackPolicy says which history is compressed in the background: deltas of at least MinBytes, by s2 when they are
// older than S2After, and by zstd when they are older than ZstdAfter. docs/design.md has the measurements behind the
// defaults.
type PackPolicy struct {
	MinBytes  int           // 512 where 0; negative: nothing is compressed
	S2After   time.Duration // 1 s where 0
	ZstdAfter time.Duration // 30 s where 0
}

func (p PackPolicy) defaults() PackPolicy {
	if p.MinBytes == 0 {
		p.MinBytes = 512
	}
	if p.S2After == 0 {
		p.S2After = time.Second
	}
	if p.ZstdAfter == 0 {
		p.ZstdAfter = 30 * time.Second
	}
	return p
}

// collector drops the versions that no live snapshot sees (M6), and compresses old history.
type collector struct {
	s    *Store
	mu   yield.Mutex // one round at a time; guards long, and the kept lists of shards
	long longSnapshots
}

// collectEvery is how often the collector makes a round, and sampleEvery how many rounds lie between two samples of
// contention.
const (
	collectEvery = 10 * time.Millisecond
	sampleEvery  = 10
)

// background collects history until the store ends.
func (g *collector) background() {
	s := g.s
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-s.stop:
			return
		case now := <-t.C:
			s.chains.clock.Store(now.UnixNano())
			g.once(false)
			if n%sampleEvery == 0 && s.events.observed() {
				s.events.emit(s.contentionSample())
			}
		}
	}
}

// Collect drops every version that no live snapshot sees (M6), now instead of in a moment.
func (s *Store) Collect() { s.collector.once(true) }

// once looks at the chains that have got history since the last round. If all is set, or a snapshot of several
// rounds has ended, it also looks at those whose history live snapshots keep. An idle snapshot over very many chains
// costs a look at each of them a second.
func (g *collector) once(all bool) {
	g.mu.Lock() // a caller that asked for a round finds all of it done
	defer g.mu.Unlock()
	t := &g.s.chains
	before := t.collected.Load()
	all = g.long.ended(t.snapshots.live(nil), t.clock.Load()) || all
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		list := sh.history
		sh.history = nil
		sh.mu.Unlock()
		if all {
			list, sh.kept = append(list, sh.kept...), nil
		}
		for _, c := range list {
			switch g.collect(c) {
			case historyNew:
				sh.listHistory(c)
			case historyOld:
				sh.kept = append(sh.kept, c)
			}
		}
	}
	n := t.collected.Load() - before
	if n > 0 {
		failpoint.At("collection", "chain")
	}
	if n > 0 && g.s.events.observed() {
		g.s.events.emit(Event{Kind: EventGC, Count: n, Seq: g.s.Published()})
	}
}

// longSnapshots are the snapshots that were live at two rounds of collection: those that keep history, unlike a
// writer's of a moment.
type longSnapshots struct {
	last []block.Seq // live at the last round, ascending
	old  []block.Seq // of those, live at the round before it, too
	full int64       // when all chains were looked at last; nanoseconds
}

// allEvery is how often all chains with history are looked at, also to compress what has become old.
const allEvery = time.Second

// ended takes the live snapshots of a round, and reports whether a lasting one has ended since the last, or all chains
// are due for a look.
func (l *longSnapshots) ended(live []block.Seq, now int64) bool {
	slices.Sort(live)
	has := func(list []block.Seq, seq block.Seq) bool {
		_, found := slices.BinarySearch(list, seq)
		return found
	}
	gone := slices.ContainsFunc(l.old, func(seq block.Seq) bool { return !has(live, seq) })
	last := l.last
	l.last, l.old = live, nil
	for _, seq := range slices.Compact(slices.Clone(live)) {
		if has(last, seq) {
			l.old = append(l.old, seq)
		}
	}
	if !gone && now-l.full < int64(allEvery) {
		return false
	}
	l.full = now
	return true
}

// historyState is the result of a look at a chain.
type historyState uint8

const (
	historyGone historyState = iota // no history
	historyNew                      // history, for the first time: a snapshot of a moment may keep it
	historyOld
)

// collect collects one chain.
func (g *collector) collect(c *chain) historyState {
	t := &g.s.chains
	c.latch.lock()
	defer c.latch.unlock()
	c.settle(t)
	c.prune(t, nil)
	c.pack(t)
	c.listed = c.history > 0
	if c.idle && !c.listed && !c.dead && !c.dirty {
		g.s.checkpoints.dropNow(c)
	}
	again := c.lookedAt
	c.lookedAt = c.listed
	switch {
	case !c.listed:
		return historyGone
	case !again:
		return historyNew
	}
	return historyOld
}

// pack compresses old deltas. The caller holds the latch of a chain that was settled.
func (c *chain) pack(t *chainTable) {
	p, now := t.pack, t.clock.Load()
	if p.MinBytes < 0 || c.history == 0 || c.bytes < int64(p.MinBytes) {
		return
	}
	head := c.head.Load()
	var keep []*delta
	total, changed := int64(0), false
	for d := head.below.Load(); d != nil; d = d.older {
		age := time.Duration(now - d.since)
		if q := d.packed(p, age); q != nil {
			d, changed = q, true
		}
		keep, total = append(keep, d), total+d.bytes()
	}
	if changed {
		c.rebuild(head, keep, nil)
		c.pruned = nil
		c.grow(t, 0, total-c.bytes)
	}
}

// packed returns the delta in the form for its age, or nil if it has that form.
func (d *delta) packed(p PackPolicy, age time.Duration) *delta {
	want := plain
	switch {
	case age > p.ZstdAfter:
		want = packZstd
	case age > p.S2After:
		want = packS2
	}
	if want <= d.codec || d.tried >= want || len(d.data) < p.MinBytes && d.codec == plain {
		return nil
	}
	b, err := d.codec.unpack(d.data)
	if err != nil {
		return nil
	}
	q := &delta{seq: d.seq, older: d.older, data: d.data, since: d.since, codec: d.codec, tried: want}
	if packed, ok := want.pack(b); ok && len(packed) < len(d.data) {
		q.data, q.codec = packed, want
	}
	return q
}
