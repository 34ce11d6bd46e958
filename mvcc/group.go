package mvcc

import (
	"context"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/invariant"
)

// groups knows the last sequence of each group of commits, such as those of one inode. How far a group is visible and durable follows
// from it and from the store's own sequences (E1): there is no second bookkeeping.
type groups struct {
	last  *xsync.MapOf[uint64, *atomic.Uint64]
	told  *xsync.MapOf[uint64, [3]block.Seq] // with -tags invariants only
	floor atomic.Uint64                      // at least the last sequence of each group that was forgotten
}

// maxGroups bounds the groups that are remembered.
const maxGroups = 1 << 16

func (g *groups) init() {
	g.last, g.told = xsync.NewMapOf[uint64, *atomic.Uint64](), xsync.NewMapOf[uint64, [3]block.Seq]()
}

// Standing is how far a group's commits have come. Each only ever grows.
type Standing struct {
	Staged  block.Seq // the last commit that has a sequence
	Visible block.Seq // all of the group's commits up to here can be seen
	Durable block.Seq // all of the group's commits up to here are durable
}

// noteGroups notes a commit's sequence for its groups, before it is visible: who has seen it and syncs the group must find it here.
func (tx *Tx) noteGroups(seq block.Seq) {
	for _, key := range tx.groups {
		last, _ := tx.s.groups.last.LoadOrCompute(key, func() *atomic.Uint64 { return new(atomic.Uint64) })
		raise(last, uint64(seq))
	}
}

// bound forgets groups where there are too many.
func (g *groups) bound(durable block.Seq) {
	if g.last.Size() > maxGroups {
		g.forget(uint64(durable))
	}
}

func raise(a *atomic.Uint64, to uint64) {
	for v := a.Load(); v < to && !a.CompareAndSwap(v, to); v = a.Load() {
	}
}

// forget drops the groups whose every commit is durable.
func (g *groups) forget(durable uint64) {
	g.last.Range(func(key uint64, last *atomic.Uint64) bool {
		if v := last.Load(); v <= durable {
			raise(&g.floor, v)
			g.last.Compute(key, func(old *atomic.Uint64, ok bool) (*atomic.Uint64, bool) { return old, ok && old.Load() <= durable })
		}
		return true
	})
}

// Standing tells how far a group has come.
func (s *Store) Standing(key uint64) (st Standing) {
	if !invariant.On {
		return s.standing(key)
	}
	s.groups.told.Compute(key, func(before [3]block.Seq, _ bool) ([3]block.Seq, bool) {
		st = s.standing(key)
		now := [3]block.Seq{st.Staged, st.Visible, st.Durable}
		invariant.Must(invariant.AliasOrder(key, before, now))
		return now, false
	})
	return st
}

func (s *Store) standing(key uint64) Standing {
	// The other way round than they grow, so that what is read keeps their order.
	durable, visible := s.Durable(), s.Published()
	staged := block.Seq(s.groups.floor.Load())
	if last, ok := s.groups.last.Load(key); ok {
		staged = max(staged, block.Seq(last.Load()))
	}
	return Standing{Staged: staged, Visible: min(staged, visible), Durable: min(staged, durable)}
}

// SyncGroup makes the commits of a group durable, and with them everything before them: at least.
func (s *Store) SyncGroup(ctx context.Context, key uint64) error {
	if s.log == nil && s.epochs == nil {
		return s.Sync(ctx)
	}
	visible := s.Standing(key).Visible
	err := s.wait(visible)
	if invariant.On && err == nil {
		invariant.Must(invariant.SyncCompleteness(visible, s.Durable()))
	}
	return err
}
