package mvcc

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// Policy decides how a transaction goes on when another one has changed a block first. Policies change speed, never
// results.
type Policy int32

// The policies, weakest first. The strongest one of a transaction's blocks counts.
const (
	Merge  Policy = iota // run the edits again on the newest version where a proof allows it
	Strict               // try the whole transaction again
	Wait                 // wait in a queue before reading, so that no other transaction comes first
	// the one of them under which commits follow each other fastest, found by trials, for each hot block
	Adaptive
)

func (p Policy) String() string { return [...]string{"merge", "strict", "wait", "adaptive"}[p] }

// ParsePolicy is the policy of a name.
func ParsePolicy(name string) (Policy, error) {
	for _, p := range []Policy{Merge, Strict, Wait, Adaptive} {
		if p.String() == name {
			return p, nil
		}
	}
	return Merge, fmt.Errorf("%q is no policy: there are merge, strict, wait and adaptive", name)
}

// Losses are the seconds that a commit of a block is expected to lose under each policy, with what they follow from.
type Losses struct {
	ConflictRate float64 `json:"conflict_rate"` // conflicts a commit
	MergeSuccess float64 `json:"merge_success"` // share of conflicts that a merge solves
	AbortCost    float64 `json:"abort_cost_seconds"`
	MergeCost    float64 `json:"merge_cost_seconds"`
	WaitCost     float64 `json:"wait_cost_seconds"`
	Strict       float64 `json:"strict_seconds"`
	Merge        float64 `json:"merge_seconds"`
	Wait         float64 `json:"wait_seconds"`

	Pace [3]float64 `json:"measured_seconds"` // between commits, under merge, strict and wait; 0: not measured
}

const (
	emaWeight       = 0.1  // weight of the newest sample in each moving average
	rateWindow      = 32   // commits a sample of the rates
	warmUp          = 20   // commits before the first decision
	hysteresis      = 0.85 // another policy must take at most this share of the present one's time a commit
	minConflictRate = 0.1  // conflicts a commit below which no policy can gain much
	paceChange      = 2.0  // times that the pace changes where the load has changed
	paceShifts      = 4    // measurements in a row that must say so

	// Times, in which noise evens out: a processor is taken away for ten milliseconds now and then.
	settleTime       = time.Millisecond      // of a policy, not counted: earlier transactions are under way
	trialTime        = 5 * time.Millisecond  // of a trial
	firstWait        = 20 * time.Millisecond // before the first trial; twice as long after each that failed
	maxTrialInterval = 2 * time.Second
)

// contention is the recent history of conflicts of one block.
//
// The measured time between commits under a policy says whether it stays; the conflict rate and the share that merges
// say which is worth a trial. Expected losses are a report only. Rejected: to decide by them. The cost of two
// processors that take a block's cache lines from each other is in none of their terms, and was three times the rest
// (docs/design.md, "Policy").
type contention struct {
	mode atomic.Int32 // Policy: merge, strict or wait

	// Guarded by the chain's latch.
	commits   int // in this window
	conflicts int
	merges    int
	begun     bool // the warm-up is over

	mu      sync.Mutex // guards the rest
	since   time.Time  // of the policy at hand
	counted int        // commits since it has settled
	settled time.Time
	home    Policy
	trying  bool
	next    Policy        // the policy tried last
	every   time.Duration // to the next trial
	shifts  int           // measurements in a row that differ much from the average
	pace    [3]float64    // seconds between commits, by policy
	losses  Losses
}

func ema(v *float64, sample float64) {
	if *v == 0 {
		*v = sample
	} else {
		*v += emaWeight * (sample - *v)
	}
}

// typical moves v to the median of its samples, which are durations: an average of them is what the few say in which a
// goroutine waited for a processor.
func typical(v *float64, sample float64) {
	const step = 1 + emaWeight/2
	switch {
	case *v == 0:
		*v = sample
	case sample > *v:
		*v *= step
	default:
		*v /= step
	}
}

// commit notes a commit, and decides where a window is full. conflict: the newest version was not the base.
func (c *contention) commit(conflict, merged bool) (switched bool, from, to Policy, l Losses) {
	c.commits++
	if conflict {
		c.conflicts++
	}
	if merged {
		c.merges++
	}
	if c.commits < rateWindow && (c.begun || c.commits < warmUp) {
		return
	}
	c.begun = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since, c.every = time.Now(), firstWait
	}
	return c.decide(time.Now())
}

// decide ends a window. The caller holds mu, and the latch.
func (c *contention) decide(now time.Time) (switched bool, from, to Policy, l Losses) {
	mode := Policy(c.mode.Load())
	if mode != Wait { // waiting has no conflicts: what is known from before stays
		ema(&c.losses.ConflictRate, float64(c.conflicts)/float64(c.commits))
	}
	if c.conflicts > 0 && mode == Merge {
		ema(&c.losses.MergeSuccess, float64(c.merges)/float64(c.conflicts))
	}
	c.measurePace(mode, now)
	c.commits, c.conflicts, c.merges = 0, 0, 0
	c.losses.Expect()
	best := c.choose(mode, now.Sub(c.since))
	l = c.losses
	l.Pace = c.pace
	if best == mode {
		return false, mode, mode, l
	}
	c.mode.Store(int32(best))
	c.since, c.settled = now, time.Time{}
	return true, mode, best, l
}

// measurePace measures the time between commits. If it has changed much, the load has changed, and trials begin again.
func (c *contention) measurePace(mode Policy, now time.Time) {
	switch {
	case c.settled.IsZero():
		if now.Sub(c.since) >= settleTime {
			c.settled, c.counted = now, 0
		}
		return
	case now.Sub(c.settled) < trialTime-settleTime && !c.trying:
		c.counted += c.commits
		return
	}
	c.counted += c.commits
	took := now.Sub(c.settled).Seconds() / float64(c.counted)
	was := c.pace[mode]
	if c.trying {
		c.pace[mode] = took
		return
	}
	c.settled, c.counted = now, 0
	if was == 0 || took < paceChange*was && was < paceChange*took {
		ema(&c.pace[mode], took)
		c.shifts = 0
		return
	}
	if c.shifts++; c.shifts == paceShifts { // no noise
		c.pace[mode], c.shifts = took, 0
		c.every = min(c.every, 2*firstWait)
	}
}

// choose is the policy of the next window. The caller holds mu.
func (c *contention) choose(mode Policy, lasted time.Duration) Policy {
	switch {
	case c.trying && lasted < trialTime:
		return mode
	case c.trying:
		c.trying = false
		if c.pace[mode] > 0 && c.pace[mode] < hysteresis*c.pace[c.home] {
			c.home, c.every = mode, 2*firstWait
			return mode
		}
		c.every = min(2*c.every, maxTrialInterval)
		return c.home
	case lasted < c.every || c.pace[mode] == 0:
		return mode
	}
	try := c.candidate(mode)
	if try == mode {
		return mode
	}
	c.trying, c.home, c.next = true, mode, try
	c.pace[try] = 0
	return try
}

// candidate is a policy that is worth a trial.
func (c *contention) candidate(mode Policy) Policy {
	for i := range Policy(3) {
		p := (c.next + 1 + i) % 3
		switch {
		case p == mode:
		case p == Merge:
			return p
		case c.losses.ConflictRate < minConflictRate && mode != Wait:
		case p == Strict && c.losses.MergeSuccess > 0.5: // merging is an attempt less
		default:
			return p
		}
	}
	return mode
}

// Expect computes the expected losses from the rates and costs (docs/design.md, "Policy").
//
// Waiting costs the hand-over, during which no transaction works on the block, and the work that could have run: a
// merge that would have succeeded is work that need not have waited.
func (l *Losses) Expect() {
	cores := float64(runtime.GOMAXPROCS(0))
	l.Strict = l.ConflictRate * l.AbortCost
	l.Merge = l.ConflictRate * ((1-l.MergeSuccess)*l.AbortCost + l.MergeCost)
	hand := l.WaitCost
	if hand == 0 {
		hand = 2e-6 // before the first wait: two switches of goroutines
	}
	l.Wait = hand + l.MergeSuccess*l.AbortCost*(cores-1)/cores
}

// Of is the loss under a policy; under Adaptive the least.
func (l *Losses) Of(p Policy) float64 {
	if p == Adaptive {
		return min(l.Merge, l.Strict, l.Wait)
	}
	return [...]float64{l.Merge, l.Strict, l.Wait}[p]
}

// of is the policy for a chain now: with Adaptive, the one that its own conflicts chose; Merge before the first.
func (p Policy) of(c *chain) Policy {
	if p != Adaptive {
		return p
	}
	if h := c.hot.Load(); h != nil {
		return Policy(h.mode.Load())
	}
	return Merge
}

// mayMerge reports whether the policies of all blocks that a transaction writes allow it to merge.
func (tx *Tx) mayMerge(c *chain) bool {
	switch tx.s.opts.Policy {
	case Merge:
		return true
	case Strict, Wait:
		return false
	}
	for _, t := range tx.writes {
		if t.chain != nil && tx.s.opts.Policy.of(t.chain) == Strict {
			return false
		}
	}
	return true
}

// observe notes that a transaction's edits of a block stand. The caller holds the latch.
func (c *chain) observe(s *Store, tx *Tx, stood bool) {
	if s.opts.Policy != Adaptive {
		return
	}
	h := c.hot.Load()
	if h == nil {
		if stood {
			return
		}
		h = &contention{}
		c.hot.Store(h)
	}
	if sw, from, to, l := h.commit(!stood, !stood); sw {
		s.stats.switches.Add(1)
		s.events.emit(
			Event{Kind: EventPolicy, Tx: tx.priority, Block: c.number, Policy: to.String(), Outcome: from.String(), Inputs: &l},
		)
	}
}

// conflict notes that a transaction's edits of a block do not stand, and returns ErrConflict. why is nil where no
// merge was tried. The caller holds the latch.
func (tx *Tx) conflict(t *touched, newest *version, why error) error {
	s, c := tx.s, t.chain
	tx.loser = c
	s.stats.conflicts.Add(1)
	s.stats.kinds[t.tag.Kind%maxKinds].aborts.Add(1)
	s.stats.hot.touch(c.number)
	if why == errQueued {
		return ErrConflict
	}
	h := c.hot.Load()
	if h == nil {
		h = &contention{}
		c.hot.Store(h)
	}
	h.conflicts++
	h.mu.Lock()
	if !tx.began.IsZero() {
		typical(&h.losses.AbortCost, time.Since(tx.began).Seconds())
	}
	h.mu.Unlock()
	if s.events.observed() {
		reason := "strict"
		if why != nil {
			reason = why.Error()
		}
		s.events.emit(
			Event{
				Kind:   EventConflict,
				Tx:     tx.priority,
				Seq:    newest.seq,
				Block:  c.number,
				Edits:  kindsOf(t.edits),
				Ranges: merge.Ranges(t.edits),
				Policy: s.opts.Policy.of(c).String(),
				Reason: reason,
			},
		)
	}
	return ErrConflict
}

// merged notes what a merge with the version of a commit came to. began is zero unless it was measured.
func (tx *Tx) merged(t *touched, with block.Seq, began time.Time, err error) {
	s := tx.s
	s.stats.hot.touch(t.number)
	if err == nil {
		s.stats.merges.Add(1)
		s.stats.conflicts.Add(1)
		s.stats.kinds[t.tag.Kind%maxKinds].merges.Add(1)
		tx.mergedAny = true
	}
	if !began.IsZero() {
		took := time.Since(began).Seconds()
		s.stats.all.mu.Lock()
		typical(&s.stats.all.losses.MergeCost, took)
		typical(&s.stats.all.losses.AbortCost, time.Since(tx.began).Seconds()) // what aborting here would have cost
		s.stats.all.mu.Unlock()
		if h := t.chain.hot.Load(); h != nil {
			h.mu.Lock()
			typical(&h.losses.MergeCost, took)
			typical(&h.losses.AbortCost, time.Since(tx.began).Seconds())
			h.mu.Unlock()
		}
	}
	if s.events.observed() {
		e := Event{
			Kind:   EventMergeChecked,
			Tx:     tx.priority,
			Seq:    with,
			Block:  t.number,
			Edits:  kindsOf(t.edits),
			Ranges: merge.Ranges(t.edits),
			Policy: s.opts.Policy.of(t.chain).String(),
		}
		s.events.emit(e)
		if err == nil {
			e.Kind, e.Proof = EventMergeApplied, tx.result.Proof.String()
		} else {
			e.Kind, e.Reason = EventMergeRejected, err.Error()
		}
		s.events.emit(e)
	}
}

func kindsOf(edits []merge.Edit) string {
	var names []string
	for i := range edits {
		names = append(names, edits[i].Kind().String())
	}
	return strings.Join(names, "+")
}
