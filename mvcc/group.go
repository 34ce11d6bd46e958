package mvcc

import (
	"context"
	"math"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/invariant"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
)

// groups knows the last sequence of each group of commits, such as those of one inode. How far a group is visible and
// durable follows from it and from the store's own sequences (E1): there is no second bookkeeping.
type groups struct {
	last     *xsync.MapOf[uint64, *atomic.Uint64]
	reported *xsync.MapOf[uint64, [3]block.Seq] // with -tags invariants only
	floor    atomic.Uint64                      // at least the last sequence of each group that was forgotten
	limit    atomic.Int64                       // groups at which those that are durable are forgotten
}

// maxGroups bounds the groups that are remembered.
const maxGroups = 1 << 16

func (g *groups) init() {
	g.limit.Store(maxGroups)
	g.last, g.reported = xsync.NewMapOf[uint64, *atomic.Uint64](), xsync.NewMapOf[uint64, [3]block.Seq]()
}

// Standing is how far a group's commits have come. Each only ever grows.
type Standing struct {
	Staged  block.Seq // the last commit that has a sequence
	Visible block.Seq // all of the group's commits up to here can be seen
	Durable block.Seq // all of the group's commits up to here are durable
}

// raiseGroups notes a commit's sequence for its groups, before it is visible: a caller that has seen it and syncs the
// group must find it here.
func (tx *Tx) raiseGroups(seq block.Seq) {
	for _, key := range tx.groups {
		tx.s.groups.raise(key, uint64(seq))
	}
}

// forgotten is the value of a group's counter that is being forgotten: it takes no more commits.
const forgotten = math.MaxUint64

// raise raises a group's last sequence.
func (g *groups) raise(key, seq uint64) {
	last, _ := g.last.LoadOrCompute(key, func() *atomic.Uint64 { return new(atomic.Uint64) })
	if raise(last, seq) {
		return
	}
	g.last.Compute(key, func(old *atomic.Uint64, ok bool) (*atomic.Uint64, bool) {
		if !ok || !raise(old, seq) {
			old = new(atomic.Uint64)
			old.Store(seq)
		}
		return old, false
	})
}

// forgetSome forgets groups where there are too many. Those that it cannot forget raise the limit, so that a look at
// all of them costs each commit a constant time.
func (g *groups) forgetSome(durable block.Seq) {
	limit := g.limit.Load()
	if int64(g.last.Size()) <= limit || !g.limit.CompareAndSwap(limit, math.MaxInt64) {
		return
	}
	g.forget(uint64(durable))
	g.limit.Store(max(maxGroups, 2*int64(g.last.Size())))
}

// raise raises a counter, and reports false where that is forgotten.
func raise(a *atomic.Uint64, to uint64) bool {
	for v := a.Load(); v < to; v = a.Load() {
		if a.CompareAndSwap(v, to) {
			return true
		}
	}
	return a.Load() != forgotten
}

// forget drops the groups whose every commit is durable. A commit that meets it either raises the counter first, which
// keeps the group, or finds it forgotten, and makes another one.
func (g *groups) forget(durable uint64) {
	g.last.Range(func(key uint64, last *atomic.Uint64) bool {
		v := last.Load()
		if v > durable {
			return true
		}
		raise(&g.floor, v)
		yield.At("group forget")
		if mutant.Off(mutant.GroupForget) {
			g.last.Delete(key)
			return true
		}
		if last.CompareAndSwap(v, forgotten) {
			g.last.Compute(key, func(old *atomic.Uint64, ok bool) (*atomic.Uint64, bool) {
				return old, ok && old.Load() == forgotten
			})
		}
		return true
	})
}

// Standing is how far a group has come.
func (s *Store) Standing(key uint64) (st Standing) {
	if !invariant.On {
		return s.groups.standing(key, s.Durable(), s.Published())
	}
	s.groups.reported.Compute(key, func(before [3]block.Seq, _ bool) ([3]block.Seq, bool) {
		st = s.groups.standing(key, s.Durable(), s.Published())
		now := [3]block.Seq{st.Staged, st.Visible, st.Durable}
		invariant.Must(invariant.AliasOrder(key, before, now))
		return now, false
	})
	return st
}

// standing is a group's standing. The caller has read the sequences in the order of the parameters, and before this:
// the other way round than they grow, so that what is read keeps their order.
func (g *groups) standing(key uint64, durable, visible block.Seq) Standing {
	staged := block.Seq(0)
	if last, ok := g.last.Load(key); ok {
		if v := last.Load(); v != forgotten { // else the floor has it
			staged = max(staged, block.Seq(v))
		}
	}
	staged = max(staged, block.Seq(g.floor.Load())) // after the counter: forgetting raises the floor first
	return Standing{Staged: staged, Visible: min(staged, visible), Durable: min(staged, durable)}
}

// SyncGroup makes the commits of a group durable, and with them everything before them: at least.
func (s *Store) SyncGroup(ctx context.Context, key uint64) error {
	visible := s.Standing(key).Visible
	err := s.durability.sync(orBackground(ctx), visible)
	if invariant.On && err == nil {
		invariant.Must(invariant.SyncCompleteness(visible, s.Durable()))
	}
	return err
}
