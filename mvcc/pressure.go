package mvcc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/mutant"
)

// Back-pressure goes up in steps as the log or the memory fills: an early checkpoint, slower writers, writers that
// wait. Each step is taken at its mark, and left only at a lower one, so that it does not flicker. Readers always go
// on.
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

// backPressure holds a store's writers back while its log or its memory is nearly full.
type backPressure struct {
	s        *Store
	step     atomic.Int32
	heldBack atomic.Int64 // times that writers were held back
	waiting  atomic.Int64 // transactions that are held back now
}

// updateStep brings the step up to date.
func (b *backPressure) updateStep() (p float64, now step) {
	p = b.level()
	before := step(b.step.Load())
	if now = before.next(p); now != before && b.step.CompareAndSwap(int32(before), int32(now)) && b.s.events.observed() {
		b.s.events.emit(
			Event{Kind: EventStep, Seq: b.s.Published(), Reason: before.String() + " to " + now.String(), Count: int64(100 * p)},
		)
	}
	return p, now
}

// level is the share of the log's space, or of the memory, that is in use.
func (b *backPressure) level() float64 {
	p := float64(b.s.chains.memory()) / float64(b.s.opts.Memory-b.s.opts.Memory/4)
	return max(p, b.s.durability.pressure())
}

// admit holds a transaction back while log or memory are nearly full: before it takes its snapshot, because that may
// be what keeps memory from being given up.
func (b *backPressure) admit(ctx context.Context) error {
	if b.s.Published()&15 == 0 || step(b.step.Load()) > noStep {
		if err := b.relieve(ctx); err != nil {
			return err
		}
	}
	return b.s.durability.admit(ctx)
}

// relieve does the work of a step.
func (b *backPressure) relieve(ctx context.Context) error {
	p, now := b.updateStep()
	if now >= flushing {
		b.s.checkpoints.request()
	}
	switch now {
	case slowing: // the fuller, the slower
		time.Sleep(
			time.Duration(
				float64(longestSlowdown) * (p - stepMarks[slowing].leave) / (stepMarks[waiting].take - stepMarks[slowing].leave),
			),
		)
	case waiting:
		began := time.Now()
		return b.holdBack(ctx, false, func() bool {
			p, now := b.updateStep()
			return now < waiting ||
				p < stepMarks[waiting].take && time.Since(began) > b.resumeAfter() // history may keep it between the two
		})
	}
	return nil
}

// resumeAfter is after how long writers go on though it has become only a little less full: history may keep it so.
func (b *backPressure) resumeAfter() time.Duration {
	if b.s.opts.PushBack < 0 {
		return 500 * time.Millisecond
	}
	return b.s.opts.PushBack / 2
}

// longestSlowdown is how long a writer is held up just before it would have to wait.
const longestSlowdown = 200 * time.Microsecond

// errChainCap asks for a wait until a chain over its cap has become shorter.
var errChainCap = fmt.Errorf("%w: too many old versions of a block are kept", ErrConflict)

// lacksRoom reports whether a commit failed for want of room that there will be.
func lacksRoom(err error) bool {
	return errors.Is(err, errChainCap) || errors.Is(err, errEpochFull) || errors.Is(err, errLogFull)
}

// awaitRoom ends a transaction that lacks room, and waits until there is.
func (tx *Tx) awaitRoom(err error) error {
	s, c := tx.s, tx.overCap
	tx.end()
	if !errors.Is(err, errChainCap) {
		return s.durability.awaitRoom(orBackground(tx.ctx), tx)
	}
	return s.pressure.awaitShorterChain(tx.ctx, c)
}

// overChainCap reports whether a block that is written has more history than the cap.
func (tx *Tx) overChainCap() bool {
	for _, t := range tx.writes {
		if c := t.chain; c != nil && c.overCap.Load() {
			tx.overCap = c
			return true
		}
	}
	return false
}

// awaitShorterChain waits, without a snapshot, until a chain is below its cap.
func (b *backPressure) awaitShorterChain(ctx context.Context, c *chain) error {
	return b.holdBack(ctx, true, func() bool { return !c.overCap.Load() })
}

// historyBound reports whether it is history that takes the room, or keeps blocks from being dropped: only the end of
// a snapshot helps then.
func (b *backPressure) historyBound() bool {
	return b.s.chains.historyBytes.Load() > b.s.opts.Memory/4 ||
		b.s.chains.historyCount.Load() > 0 && b.s.durability.pressure() < stepMarks[waiting].take
}

// noRoom is the error of a device without room that keeps the log from being given up or from growing, if any.
func (b *backPressure) noRoom() error {
	if p := b.s.checkpoints.noRoom.Load(); p != nil {
		return *p
	}
	return b.s.durability.noRoom()
}

// holdBack waits until there is room. If history takes it, as the caller knows or the store finds, only the end of
// a snapshot makes some; so after a while it gives up, unless the store is to wait as long as it takes. Events and
// Stats name the oldest snapshot meanwhile.
func (b *backPressure) holdBack(ctx context.Context, history bool, room func() bool) error {
	b.heldBack.Add(1)
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	began := time.Now()
	reported := false
	for !room() {
		if err := b.s.Err(); err != nil {
			return err
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		b.s.checkpoints.request()
		took := time.Since(began)
		seq, name, ok := b.s.snapshots.oldest()
		if !reported && b.s.events.observed() {
			reported = true
			b.s.events.emit(
				Event{Kind: EventPressure, Seq: seq, Reason: "oldest snapshot: " + name, Count: b.s.chains.historyBytes.Load()},
			)
		}
		if took > b.s.opts.PushBack && ok && (b.s.opts.PushBack > 0 || mutant.Off(mutant.Patience)) &&
			(history || b.historyBound()) {
			return &PushBackError{name, seq, b.s.chains.historyBytes.Load()}
		}
		if err := b.noRoom(); err != nil && took > b.s.opts.PushBack && b.s.opts.PushBack > 0 {
			return err
		}
		if took < time.Millisecond {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
