package ext4

import "github.com/varvefs/varve/internal/mutant"

// claim says who asks for blocks, and for what: that decides how many stay free (kernel, fs/ext4/balloc.c, ext4_has_free_clusters).
//
//	free blocks │ for everybody │ ReservedBlocks: for root and s_def_resuid, s_def_resgid │ keptForNodes: for promised nodes │ 0
type claim struct {
	owner    Owner
	promised bool // a node of an extent tree that something promised before needs
}

// claim takes up to want blocks off the count of free ones, and more where everybody may. It returns how many.
func (l *Live) claim(want, more uint32, c claim) uint32 {
	nodes := int64(keptForNodes(l.super))
	if k := l.claimAbove(want+more, nodes+int64(l.super.ReservedBlocks)); k > 0 {
		return k
	}
	if l.freeBlocks.Load() > nodes && (c.promised || l.mayUseReserved(c.owner)) {
		if k := l.claimAbove(want, nodes); k > 0 {
			return k
		}
	}
	if c.promised {
		return l.claimAbove(want, 0)
	}
	return 0
}

// claimAbove takes up to want blocks off the count of free ones as long as so many stay.
func (l *Live) claimAbove(want uint32, keep int64) uint32 {
	for {
		free := l.freeBlocks.Load()
		n := min(int64(want), free-keep)
		if n <= 0 {
			return 0
		}
		if l.freeBlocks.CompareAndSwap(free, free-n) {
			return uint32(n)
		}
	}
}

// mayUseReserved reports whether blocks are kept back for the owner of a request, among others.
func (l *Live) mayUseReserved(o Owner) bool {
	s := l.super
	if mutant.Off(mutant.ReservedFor) {
		return o.UID == 0
	}
	if o.UID == uint32(s.DefaultUID) || s.DefaultGID != 0 && o.GID == uint32(s.DefaultGID) {
		return true
	}
	if o.Thread == 0 || l.rights == nil {
		return o.UID == 0
	}
	return l.rights(o.Thread, uint32(s.DefaultGID)) // root, too, by its capability only where the superblock names somebody else
}

// SetRights sets the function that reports whether a thread may use reserved blocks for other reasons than the user and group of its request: it
// has CAP_SYS_RESOURCE, or also belongs to the group (which is none where 0). It is asked only when space is short. It is set before
// the first request.
func (l *Live) SetRights(may func(thread, gid uint32) bool) { l.rights = may }

// MayUseReserved reports whether user and group of a request may use reserved blocks, without a look at its thread.
func (l *Live) MayUseReserved(o Owner) bool {
	o.Thread = 0
	return l.mayUseReserved(o)
}

// Room is how many bytes everybody may still allocate at once.
func (l *Live) Room() int64 {
	free := l.freeBlocks.Load() + l.windows.blocks.Load() - int64(l.super.ReservedBlocks+keptForNodes(l.super))
	return max(free, 0) * int64(l.super.BlockSize)
}

// RoomFor reports whether everybody may allocate so many bytes. Where they are short it first makes usable what was freed.
func (l *Live) RoomFor(bytes int64) bool {
	if l.Room() >= bytes {
		return true
	}
	return l.makeRoom() == nil && l.Room() >= bytes
}
