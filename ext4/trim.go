package ext4

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Discard discards bytes of the device below a file system that are not needed any more.
type Discard struct {
	// Do makes contents of a range undefined; nil where the device cannot.
	Do   func(offset, n int64) error
	Unit int64  // what a shorter range has no effect on, in bytes
	Why  string // Do is nil
}

// TrimRange is what FITRIM asks for, in bytes: where free blocks are discarded, and how many at least have to follow
// one another.
type TrimRange struct{ Start, Len, MinLen uint64 }

// trims keeps a trim apart from allocations that need its blocks: an allocation that found none waits for the end of
// the discard that is under way, and no other discard begins until it has ended.
type trims struct {
	mu    sync.Mutex // held during each discard
	needy atomic.Int32
}

// need waits for the blocks that a trim keeps, and stops it until the returned function is called.
func (t *trims) need() (done func()) {
	t.needy.Add(1)
	t.mu.Lock() // waits for its holder
	defer t.mu.Unlock()
	return func() { t.needy.Add(-1) }
}

// lock takes mu when no allocation needs blocks.
func (t *trims) lock(ctx context.Context) error {
	for {
		t.mu.Lock()
		if t.needy.Load() == 0 {
			return nil
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// Trim discards blocks that are free in the newest durable state (W4), and returns how many bytes. Groups of which
// nothing was freed since they were trimmed are passed over (kernel, fs/ext4/mballoc.c: ext4_trim_fs). An error comes
// with what was trimmed before.
func (w *Writable) Trim(ctx context.Context, r TrimRange) (trimmed uint64, err error) {
	if err := w.refused(); err != nil {
		return 0, err
	}
	if err := w.store.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if w.opts.Discard.Do == nil {
		return 0, &ondisk.UnsupportedError{Feature: "discarding", Advice: w.opts.Discard.Why}
	}
	s := w.super
	size := uint64(s.BlockSize)
	if r.MinLen/size > uint64(s.BlocksPerGroup) || r.Start/size >= uint64(s.Blocks) || r.Len < size {
		return 0, fmt.Errorf("%w: trim %d bytes from %d on, at least %d", ErrInvalid, r.Len, r.Start, r.MinLen)
	}
	unit := size * uint64(s.ClusterBlocks) // all further counts are of clusters
	per := uint64(s.ClusterBlocks)
	least := max((max(r.MinLen, uint64(w.opts.Discard.Unit))/size+per-1)/per, 1)
	if least > uint64(s.ClustersPerGroup) {
		return 0, nil
	}
	end := uint64(s.Blocks)
	if r.Len/size < end-r.Start/size {
		end = r.Start/size + r.Len/size
	}
	at := max(clusterOf(s, block.Number(r.Start/size)), clusterOf(s, block.Number(s.FirstDataBlock)))
	if mutant.Off(mutant.TrimFreed) {
		w.alloc.reuse(func(block.Seq) bool { return true })
	}
	w.alloc.reuseFreed()
	for stop := clusterAt(s, block.Number(end)); at < stop; {
		g, from := w.alloc.place(at)
		n := min(s.GroupClusters(g)-from, uint32(min(uint64(stop-at), 1<<31)))
		got, err := w.trimGroup(ctx, g, from, from+n, uint32(least))
		trimmed += got * unit
		if err != nil {
			return trimmed, err
		}
		at += cluster(n)
	}
	return trimmed, nil
}

// trimGroup discards the runs of free clusters that begin in a part of a group.
func (w *Writable) trimGroup(ctx context.Context, g disk.Group, from, end, least uint32) (trimmed uint64, err error) {
	a := &w.alloc
	gr := &a.groups[g]
	gr.mu.Lock()
	done := gr.trimmed != 0 && gr.trimmed <= least
	before := gr.frees
	gr.mu.Unlock()
	if done {
		return 0, nil
	}
	at := from
	for at < end {
		n, next, err := w.trimRun(ctx, g, at, end, least)
		if err != nil {
			return trimmed, err
		}
		trimmed, at = trimmed+uint64(n), next
	}
	gr.mu.Lock()
	if from == 0 && at == a.super.GroupClusters(g) && gr.frees == before {
		gr.trimmed = least
	}
	gr.mu.Unlock()
	return trimmed, nil
}

// trimRun discards the next run of free clusters to its end, if it is long enough. It is in use meanwhile, in memory
// only.
func (w *Writable) trimRun(ctx context.Context, g disk.Group, at, end, least uint32) (n, next uint32, err error) {
	a := &w.alloc
	if err := ctx.Err(); err != nil {
		return 0, at, err
	}
	if err := a.trims.lock(ctx); err != nil {
		return 0, at, err
	}
	defer a.trims.mu.Unlock()
	gr := &a.groups[g]
	start, n, err := a.takeFree(gr, g, at, end)
	if err != nil || n == 0 {
		return 0, end, err
	}
	next = start + n
	putBack := func() {
		gr.mu.Lock()
		gr.putBack(start, next-start)
		gr.mu.Unlock()
	}
	if mutant.Off(mutant.TrimTaken) {
		putBack()
		putBack = func() {}
	}
	if n >= least {
		first := clusterOf(a.super, a.super.GroupFirst(g)) + cluster(start)
		unit := int64(a.super.BlockSize) * int64(a.super.ClusterBlocks)
		err = w.opts.Discard.Do(a.super.BlockSize.Offset(first.first(a.super)), int64(n)*unit)
	} else {
		n = 0
	}
	putBack()
	if err != nil {
		n = 0
	}
	return n, next, err
}

// takeFree takes the next run of free clusters of a group, as a reservation does. The count of free blocks stays: who
// finds fewer says so waits for the trim (Writable.do).
func (a *allocator) takeFree(gr *group, g disk.Group, at, end uint32) (start, n uint32, err error) {
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if _, err := a.load(g); err != nil {
		return 0, 0, err
	}
	for start = at; start < end && bit(gr.blocks, start); start++ {
	}
	for n = 0; start < end && start+n < a.super.GroupClusters(g) && !bit(gr.blocks, start+n); n++ {
		gr.blocks[(start+n)/8] |= 1 << ((start + n) % 8)
	}
	gr.freeBlocks -= int(n)
	gr.refs += int(n)
	return start, n, nil
}

// putBack makes clusters free that takeFree took. The caller holds mu.
func (gr *group) putBack(at, n uint32) {
	for i := at; i < at+n; i++ {
		gr.blocks[i/8] &^= 1 << (i % 8)
	}
	gr.freeBlocks += int(n)
	gr.release(int(n))
}
