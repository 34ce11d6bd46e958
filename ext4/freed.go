package ext4

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
)

// waiting are clusters that were freed by commits which are not durable yet.
type waiting struct {
	blocks atomic.Int64 // in list

	mu   sync.Mutex // guards list
	list []freedRuns
}

type freedRuns struct {
	seq  block.Seq
	runs []run
}

func (w *waiting) add(seq block.Seq, runs []run) {
	w.mu.Lock()
	w.list = append(w.list, freedRuns{seq, append([]run(nil), runs...)})
	w.blocks.Add(count(runs))
	w.mu.Unlock()
}

// reuseFreed makes usable the clusters that durable commits freed.
func (a *allocator) reuseFreed() { a.reuse(a.store.Reusable) }

// reuse makes usable the clusters that the first commits freed, as long as may reports that it may.
func (a *allocator) reuse(may func(block.Seq) bool) {
	q := &a.waiting
	for {
		q.mu.Lock()
		if len(q.list) == 0 || !may(q.list[0].seq) {
			q.mu.Unlock()
			return
		}
		runs := q.list[0].runs
		q.list = q.list[1:]
		q.mu.Unlock()
		for _, r := range runs {
			a.mature(r)
		}
		q.blocks.Add(-count(runs))
	}
}

func count(runs []run) (n int64) {
	for _, r := range runs {
		n += int64(r.n)
	}
	return n
}

// makeRoom makes the open epoch durable, which may let freed blocks be used (W4), and waits a moment for readers whose
// snapshots may keep them.
func (a *allocator) makeRoom(ctx context.Context) error {
	if a.reuseFreed(); a.waiting.blocks.Load() == 0 {
		return nil
	}
	if err := a.store.Sync(ctx); err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		a.reuseFreed()
		if a.waiting.blocks.Load() == 0 || time.Since(began) > 100*time.Millisecond {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// noSpace is ErrNoSpace, and what keeps blocks that were freed, if anything does.
func (a *allocator) noSpace() error {
	kept := a.waiting.blocks.Load() * int64(a.super.ClusterBlocks)
	if name, ok := a.store.Oldest(); ok && kept > 0 {
		return fmt.Errorf("%w: %d freed blocks are kept for the snapshot of %s", ErrNoSpace, kept, name)
	}
	return ErrNoSpace
}

// errStuck ends an attempt that ran out of blocks while others may become usable when the open epoch is durable.
var errStuck = fmt.Errorf("%w: until the open epoch is durable", ErrNoSpace)
