package ext4

import (
	"context"

	"github.com/varvefs/varve/internal/mutant"
)

// claim is the user and the purpose of an allocation. It decides how many clusters stay free (kernel, fs/ext4/balloc.c,
// ext4_has_free_clusters).
//
//	free clusters │ for all │ ReservedBlocks: root, s_def_resuid, s_def_resgid │ keptForNodes: promised nodes │ 0
type claim struct {
	cred     Cred
	promised bool // a node of an extent tree that something promised before needs
}

// claim takes up to want clusters off the count of free ones, and more where all users may. It returns how many.
func (a *allocator) claim(want, more uint32, c claim) uint32 {
	nodes := int64(keptForNodes(a.super)) / int64(a.super.ClusterBlocks)
	if k := a.claimAbove(want+more, nodes+int64(a.super.ReservedBlocks)/int64(a.super.ClusterBlocks)); k > 0 {
		return k
	}
	if a.freeBlocks.Load() > nodes && (c.promised || a.mayUseReserved(c.cred)) {
		if k := a.claimAbove(want, nodes); k > 0 {
			return k
		}
	}
	if c.promised {
		return a.claimAbove(want, 0)
	}
	return 0
}

// claimAbove takes up to want clusters off the count of free ones as long as so many stay.
func (a *allocator) claimAbove(want uint32, keep int64) uint32 {
	for {
		free := a.freeBlocks.Load()
		n := min(int64(want), free-keep)
		if n <= 0 {
			return 0
		}
		if a.freeBlocks.CompareAndSwap(free, free-n) {
			return uint32(n)
		}
	}
}

// mayUseReserved reports whether blocks are kept back for the owner of a request, among others.
func (a *allocator) mayUseReserved(o Cred) bool {
	s := a.super
	if mutant.Off(mutant.ReservedFor) {
		return o.UID == 0
	}
	if o.UID == uint32(s.DefaultUID) || s.DefaultGID != 0 && o.GID == uint32(s.DefaultGID) {
		return true
	}
	if o.Thread == 0 || a.rights == nil {
		return o.UID == 0
	}
	// root, too, by its capability only where the superblock names another user
	return a.rights(o.Thread, uint32(s.DefaultGID))
}

// SetRights sets the function that reports whether a thread may use reserved blocks for other reasons than the user and
// group of its request: it has CAP_SYS_RESOURCE, or also belongs to the group (which is none where 0). It is asked only
// when space is short. It is set before the first request.
func (w *Writable) SetRights(may func(thread, gid uint32) bool) { w.alloc.rights = may }

// MayUseReserved reports whether user and group of a request may use reserved blocks, without a look at its thread.
func (w *Writable) MayUseReserved(o Cred) bool {
	o.Thread = 0
	return w.alloc.mayUseReserved(o)
}

// Room is how many bytes all users may still allocate at once.
func (w *Writable) Room() int64 {
	free := w.alloc.freeBlocks.Load() + w.alloc.windows.blocks.Load()
	kept := int64(w.super.ReservedBlocks+keptForNodes(w.super)) * int64(w.super.BlockSize)
	return max(free*int64(w.super.ClusterSize())-kept, 0)
}

// RoomFor reports whether all users may allocate so many bytes. If they are short it first makes freed blocks
// usable, until the context ends.
func (w *Writable) RoomFor(ctx context.Context, bytes int64) bool {
	if w.Room() >= bytes {
		return true
	}
	return w.alloc.makeRoom(ctx) == nil && w.Room() >= bytes
}
