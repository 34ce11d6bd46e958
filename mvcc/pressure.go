package mvcc

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// Back-pressure goes up in steps as the log or the memory fills: an early checkpoint, slower writers, writers that wait. Each step is taken at
// its mark, and left only at a lower one, so that it does not flicker. Readers always go on.
type step int32

const (
	noStep step = iota
	flushing
	slowing
	waiting
)

// stepMarks are how full it is when a step is taken, and how full when it is left.
var stepMarks = [...]struct{ take, leave float64 }{flushing: {0.5, 0.4}, slowing: {0.8, 0.65}, waiting: {0.95, 0.8}}

func (s step) String() string { return [...]string{"none", "flushing", "slowing", "waiting"}[s] }

// next is the step that follows from how full it is.
func (s step) next(p float64) step {
	for s < waiting && p >= stepMarks[s+1].take {
		s++
	}
	for s > noStep && p < stepMarks[s].leave {
		s--
	}
	return s
}

// updateStep brings the step up to date.
func (s *Store) updateStep() (p float64, now step) {
	p = s.pressure()
	before := step(s.stats.step.Load())
	if now = before.next(p); now != before && s.stats.step.CompareAndSwap(int32(before), int32(now)) && s.observed() {
		s.emit(Event{Kind: EventStep, Seq: s.Published(), Reason: before.String() + " to " + now.String(), Count: int64(100 * p)})
	}
	return p, now
}

// pressure is what share of the log's space or of the memory is in use.
func (s *Store) pressure() float64 {
	p := float64(s.chains.Load()*2*int64(s.size)+s.historyBytes.Load()) / float64(s.opts.Memory-s.opts.Memory/4)
	return max(p, s.durability.pressure())
}

// PushBackError tells writers that versions cannot be dropped because a snapshot still reads them.
type PushBackError struct {
	Snapshot string
	Seq      block.Seq
	History  int64 // bytes
}

func (e *PushBackError) Error() string {
	return fmt.Sprintf("too many old versions (%d bytes) are kept for the snapshot of %s, taken at commit %d; end it, or give the store more memory", e.History, e.Snapshot, e.Seq)
}

// admit holds a transaction back while log or memory are nearly full: before it takes its snapshot, because that may be what keeps memory
// from being given up.
func (s *Store) admit(ctx context.Context) error {
	if s.Published()&15 == 0 || step(s.stats.step.Load()) > noStep {
		if err := s.relieve(ctx); err != nil {
			return err
		}
	}
	return s.durability.admit(ctx)
}

// relieve does what the step asks for.
func (s *Store) relieve(ctx context.Context) error {
	p, now := s.updateStep()
	if now >= flushing {
		s.askCheckpoint()
	}
	switch now {
	case slowing: // the fuller, the slower
		time.Sleep(time.Duration(float64(longestSlowdown) * (p - stepMarks[slowing].leave) / (stepMarks[waiting].take - stepMarks[slowing].leave)))
	case waiting:
		began := time.Now()
		return s.holdBack(ctx, false, func() bool {
			p, now := s.updateStep()
			return now < waiting || p < stepMarks[waiting].take && time.Since(began) > s.resumeAfter() // history may keep it between the two
		})
	}
	return nil
}

// resumeAfter is after how long writers go on though it has become only a little less full: history may keep it so.
func (s *Store) resumeAfter() time.Duration {
	if s.opts.PushBack < 0 {
		return 500 * time.Millisecond
	}
	return s.opts.PushBack / 2
}

// longestSlowdown is how long a writer is held up just before it would have to wait.
const longestSlowdown = 200 * time.Microsecond

// errChainCap asks for a wait until a chain over its cap has become shorter.
var errChainCap = fmt.Errorf("%w: too many old versions of a block are kept", ErrConflict)

// overChainCap tells whether a block that is written has more history than the cap.
func (tx *Tx) overChainCap() bool {
	for _, t := range tx.writes {
		if c := t.chain; c != nil && c.overCap.Load() {
			tx.overCap = c
			return true
		}
	}
	return false
}

// awaitShorter waits, without a snapshot, until a chain is below its cap.
func (s *Store) awaitShorter(ctx context.Context, c *chain) error {
	return s.holdBack(ctx, true, func() bool { return !c.overCap.Load() })
}

// historyBound reports whether it is history that takes the room, or keeps blocks from being dropped: only the end of a snapshot helps then.
func (s *Store) historyBound() bool {
	return s.historyBytes.Load() > s.opts.Memory/4 || s.historyCount.Load() > 0 && s.durability.pressure() < stepMarks[waiting].take
}

// holdBack waits until there is room. Where history takes it, as the caller knows or the store finds, only the end of a snapshot makes
// some; so after a while it gives up, unless the store is to wait as long as it takes. Events and Stats name the oldest snapshot meanwhile.
func (s *Store) holdBack(ctx context.Context, history bool, room func() bool) error {
	s.stats.held.Add(1)
	s.stats.waiting.Add(1)
	defer s.stats.waiting.Add(-1)
	began := time.Now()
	told := false
	for !room() {
		if err := s.Err(); err != nil {
			return err
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		s.askCheckpoint()
		took := time.Since(began)
		seq, name, ok := s.snapshots.oldest()
		if !told && s.observed() {
			told = true
			s.emit(Event{Kind: EventPressure, Seq: seq, Reason: "oldest snapshot: " + name, Count: s.historyBytes.Load()})
		}
		if took > s.opts.PushBack && ok && (s.opts.PushBack > 0 || mutant.Off(mutant.Patience)) && (history || s.historyBound()) {
			return &PushBackError{name, seq, s.historyBytes.Load()}
		}
		if took < time.Millisecond {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
