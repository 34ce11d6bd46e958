package mvcc

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/varvefs/varve/internal/block"
)

// stats counts without shared cache lines: one striped counter a fact.
type stats struct {
	commits   *xsync.Counter
	conflicts *xsync.Counter
	merges    *xsync.Counter
	aborts    *xsync.Counter
	waits     *xsync.Counter
	switches  atomic.Int64
	all       storeLosses
	hot       topK
	kinds     [maxKinds]kindStats
}

// storeLosses are the losses of the whole store.
type storeLosses struct {
	mu     sync.Mutex
	losses Losses // guarded by mu
}

// maxKinds bounds the kinds of blocks that statistics distinguish.
const maxKinds = 16

type kindStats struct{ merges, aborts, waits, waited atomic.Int64 }

// KindStats are the conflicts of one kind of blocks, by their tags, and the waits in their queues.
type KindStats struct {
	Kind   uint8         `json:"kind"`
	Merges int64         `json:"merges"`
	Aborts int64         `json:"aborts"`
	Waits  int64         `json:"waits"`
	Waited time.Duration `json:"waited_ns"`
}

// Kinds is the conflicts by kind of block.
func (s *Store) Kinds() (out []KindStats) {
	for i := range s.stats.kinds {
		k := &s.stats.kinds[i]
		if m, a, w := k.merges.Load(), k.aborts.Load(), k.waits.Load(); m+a+w > 0 {
			out = append(out, KindStats{uint8(i), m, a, w, time.Duration(k.waited.Load())})
		}
	}
	return out
}

func (st *stats) init() {
	st.commits, st.conflicts, st.merges = xsync.NewCounter(), xsync.NewCounter(), xsync.NewCounter()
	st.aborts, st.waits = xsync.NewCounter(), xsync.NewCounter()
	st.hot.init()
}

// Stats has a store's counters since it was opened, and the sizes of what it holds.
type Stats struct {
	Commits      int64   `json:"commits"`
	Conflicts    int64   `json:"conflicts"` // commits that found a newer version, merged or not, once a block
	Merges       int64   `json:"merges"`    // blocks
	Aborts       int64   `json:"aborts"`    // attempts of Update that lost
	Waits        int64   `json:"waits"`     // in wait queues
	Switches     int64   `json:"policy_switches"`
	Collected    int64   `json:"versions_collected"`
	HeldBack     int64   `json:"held_back"`
	Chains       int64   `json:"chains"`
	History      int64   `json:"history_versions"`
	HistoryBytes int64   `json:"history_bytes"`
	CleanBlocks  int     `json:"clean_blocks"`
	Published    uint64  `json:"published_sequence"`
	Durable      uint64  `json:"durable_sequence"`
	WALBytes     uint64  `json:"wal_bytes"`
	Flushes      uint64  `json:"flushes"`
	FlushSeconds float64 `json:"flush_seconds"`
	Losses       Losses  `json:"losses"`
	Hot          []Hot   `json:"hot_blocks"`
	Pressure     float64 `json:"wal_pressure"`
	BackPressure string  `json:"back_pressure"` // its step: none, flushing, slowing or waiting
	Waiting      int64   `json:"waiting_now"`   // transactions that wait for room in the log or in memory
	WaitingFor   string  `json:"waiting_for"`   // the oldest snapshot, while any wait
}

// Stats reads the counters. They are not of one instant.
func (s *Store) Stats() Stats {
	st := &s.stats
	out := Stats{
		Commits:      st.commits.Value(),
		Conflicts:    st.conflicts.Value(),
		Merges:       st.merges.Value(),
		Aborts:       st.aborts.Value(),
		Waits:        st.waits.Value(),
		Switches:     st.switches.Load(),
		Collected:    s.chains.collected.Load(),
		HeldBack:     s.pressure.heldBack.Load(),
		Chains:       s.chains.count.Load(),
		History:      s.chains.historyCount.Load(),
		HistoryBytes: s.chains.historyBytes.Load(),
		CleanBlocks:  s.clean.Stats().Blocks,
		Published:    uint64(s.Published()),
		Hot:          st.hot.list(),
		BackPressure: step(s.pressure.step.Load()).String(),
	}
	if out.Waiting = s.pressure.waiting.Load(); out.Waiting > 0 {
		_, out.WaitingFor, _ = s.snapshots.oldest()
	}
	s.durability.count(&out)
	st.all.mu.Lock()
	if out.Commits > 0 {
		st.all.losses.ConflictRate = float64(out.Conflicts) / float64(out.Commits)
		if out.Conflicts > 0 {
			st.all.losses.MergeSuccess = float64(out.Merges) / float64(out.Conflicts)
		}
	}
	st.all.losses.Expect()
	out.Losses = st.all.losses
	st.all.mu.Unlock()
	return out
}

// measure starts the clock of a transaction now and then, and of each one that lost before: reading it costs a tenth
// of a commit.
func (st *stats) measure(tx *Tx) {
	tx.count++
	if tx.count&31 == 0 || tx.lost > 0 && tx.count&3 == 0 {
		tx.began = time.Now()
	}
}

func (st *stats) commit(tx *Tx) {
	if tx.seq == 0 {
		return
	}
	st.commits.Inc()
	if tx.s.events.observed() {
		tx.s.events.emit(
			Event{
				Kind:   EventCommit,
				Tx:     tx.priority,
				Seq:    tx.seq,
				Wait:   tx.waited,
				Count:  int64(tx.lost),
				Policy: tx.s.opts.Policy.String(),
			},
		)
	}
}

func (st *stats) abort(s *Store, tx *Tx) {
	st.aborts.Inc()
	if !tx.began.IsZero() {
		st.all.mu.Lock()
		typical(&st.all.losses.AbortCost, time.Since(tx.began).Seconds())
		st.all.mu.Unlock()
	}
	if s.events.observed() {
		e := Event{Kind: EventAbort, Tx: tx.priority, Count: int64(tx.lost + 1), Policy: s.opts.Policy.String()}
		if tx.loser != nil {
			e.Block = tx.loser.number
		}
		e.NoBlock = tx.loser == nil
		s.events.emit(e)
	}
}

// wait notes that a transaction waited in the queue of a block. The hand-over is the cost of a short queue: the
// shortest wait seen lately.
func (st *stats) wait(t *chainTable, n block.Number, took time.Duration) {
	st.waits.Inc()
	st.hot.touch(n)
	if c, _ := t.index.Load(n); c != nil {
		c.latch.lock()
		k := &st.kinds[c.tag.Kind%maxKinds]
		c.latch.unlock()
		k.waits.Add(1)
		k.waited.Add(int64(took))
		if h := c.hot.Load(); h != nil {
			h.mu.Lock()
			if w := took.Seconds(); h.losses.WaitCost == 0 || w < h.losses.WaitCost {
				typical(&h.losses.WaitCost, w)
			} else {
				h.losses.WaitCost *= 1.001
			}
			h.mu.Unlock()
		}
	}
}

// Hot is a block that conflicts were seen at. Count may be too high by Error (Space-Saving: Metwally, Agrawal and El
// Abbadi, ICDT 2005).
type Hot struct {
	Block block.Number `json:"block"`
	Count uint64       `json:"count"`
	Error uint64       `json:"error"`
}

// topK is a bounded sketch of the blocks with most conflicts. One conflict in sampleHot is counted.
type topK struct {
	tick atomic.Uint64
	mu   sync.Mutex
	at   map[block.Number]int // index in list
	hot  []Hot
}

const (
	topSize   = 64
	sampleHot = 16
)

func (k *topK) init() { k.at = make(map[block.Number]int, topSize) }

func (k *topK) touch(n block.Number) {
	if k.tick.Add(1)*0x9e3779b97f4a7c15>>32%sampleHot != 0 { // in no pattern that a load could have, too
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if i, ok := k.at[n]; ok {
		k.hot[i].Count += sampleHot
		return
	}
	if len(k.hot) < topSize {
		k.at[n] = len(k.hot)
		k.hot = append(k.hot, Hot{Block: n, Count: sampleHot})
		return
	}
	least := 0
	for i := range k.hot {
		if k.hot[i].Count < k.hot[least].Count {
			least = i
		}
	}
	old := k.hot[least]
	delete(k.at, old.Block)
	k.at[n] = least
	k.hot[least] = Hot{Block: n, Count: old.Count + sampleHot, Error: old.Count}
}

func (k *topK) list() []Hot {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := append([]Hot{}, k.hot...) // in JSON an empty list, not null
	slices.SortFunc(out, func(a, b Hot) int { return int(int64(b.Count - a.Count)) })
	return out
}
