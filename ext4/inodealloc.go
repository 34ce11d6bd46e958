package ext4

import (
	"fmt"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// reserveInode chooses an inode: a file's near its directory, a directory's by Orlov's rule.
func (a *allocator) reserveInode(parent *Inode, dir bool) (Ino, error) {
	groups := uint32(len(a.groups))
	home := uint32(parent.Ino-1) / a.super.InodesPerGroup
	first := home
	if dir {
		first = a.spreadDirs(parent, home)
	}
	for i := range groups {
		g := disk.Group((first + i) % groups)
		ino, err := a.reserveInodeIn(g, dir)
		if err != nil || ino != 0 {
			return ino, err
		}
	}
	return 0, ErrNoSpace
}

// spreadDirs is the group for a new directory (Orlov; kernel, fs/ext4/ialloc.c): those of the root are spread over the
// groups with more than the average free; others stay with their parent unless that group is worse off than most.
func (a *allocator) spreadDirs(parent *Inode, home uint32) uint32 {
	groups := uint32(len(a.groups))
	blocks, inodes := int(a.freeBlocks.Load())/int(groups), int(a.freeInodes.Load())/int(groups)
	start := home
	if parent.Ino == RootIno || parent.Has(disk.InodeTopDir) {
		start = a.spread.Add(1) * 7
	} else {
		blocks, inodes = blocks/2, inodes/2
	}
	best, dirs := start%groups, 1<<30
	for i := range min(groups, 64) {
		g := (start + i) % groups
		gr := &a.groups[g]
		gr.mu.Lock()
		good, n := gr.freeInodes > 0 && gr.freeInodes >= inodes && gr.freeBlocks >= blocks, gr.dirs
		gr.mu.Unlock()
		if !good {
			continue
		}
		if parent.Ino != RootIno {
			return g
		}
		if n < dirs {
			best, dirs = g, n
		}
	}
	return best
}

func (a *allocator) reserveInodeIn(g disk.Group, dir bool) (Ino, error) {
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if gr.counted && gr.freeInodes == 0 {
		return 0, nil
	}
	if _, err := a.load(g); err != nil {
		return 0, err
	}
	from := uint32(0)
	if g == 0 {
		from = uint32(a.super.FirstIno) - 1
	}
	at, n := findRun(gr.inodes, from, a.super.InodesPerGroup, 1)
	if n == 0 {
		return 0, nil
	}
	a.take(gr, at, dir)
	return Ino(uint32(g)*a.super.InodesPerGroup + at + 1), nil
}

// reserveThis takes an inode that is free.
func (a *allocator) reserveThis(t taken) error {
	g := disk.Group(uint32(t.ino-1) / a.super.InodesPerGroup)
	at := uint32(t.ino-1) % a.super.InodesPerGroup
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if _, err := a.load(g); err != nil {
		return err
	}
	if bit(gr.inodes, at) {
		return ondisk.Corruptf(fmt.Sprintf("inode %d", t.ino), "is in use")
	}
	a.take(gr, at, t.dir)
	return nil
}

// take takes the inode of a group that a bit stands for. The caller holds the group's mu.
func (a *allocator) take(gr *group, at uint32, dir bool) {
	gr.inodes[at/8] |= 1 << (at % 8)
	gr.freeInodes--
	gr.refs++
	if dir {
		gr.dirs++
	}
	a.freeInodes.Add(-1)
}

// inUse reports whether an inode is in use.
func (a *allocator) inUse(ino Ino) (bool, error) {
	g := disk.Group(uint32(ino-1) / a.super.InodesPerGroup)
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if _, err := a.load(g); err != nil {
		return false, err
	}
	return bit(gr.inodes, uint32(ino-1)%a.super.InodesPerGroup), nil
}

// keepInode notes that a transaction which reserved or freed an inode is done with it.
func (a *allocator) keepInode(t taken) {
	gr := &a.groups[uint32(t.ino-1)/a.super.InodesPerGroup]
	gr.mu.Lock()
	gr.release(1)
	gr.mu.Unlock()
}

// releaseInode makes an inode available again.
func (a *allocator) releaseInode(t taken) {
	gr := &a.groups[uint32(t.ino-1)/a.super.InodesPerGroup]
	at := uint32(t.ino-1) % a.super.InodesPerGroup
	gr.mu.Lock()
	gr.inodes[at/8] &^= 1 << (at % 8)
	gr.freeInodes++
	gr.release(1)
	if t.dir {
		gr.dirs--
	}
	gr.mu.Unlock()
	a.freeInodes.Add(1)
}
