package ext4

import (
	"math/rand/v2"

	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// newInode allocates an inode and writes its slot: n has everything but its number and generation, which are set.
func (o *op) newInode(n *Inode, parent *Inode) error {
	dir := n.IsDir()
	ino, err := o.w.reserveInode(parent, dir)
	if err != nil {
		return err
	}
	o.inos = append(o.inos, taken{ino, dir})
	s := o.w.super
	g := disk.Group(uint32(ino-1) / s.InodesPerGroup)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return err
	}
	if d.Flags&disk.GroupInodeUninit != 0 {
		p := make([]byte, s.BlockSize)
		o.w.initInodes(p)
		if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), merge.Whole(p)); err != nil {
			return err
		}
		if err := o.clearGroupFlag(g, disk.GroupInodeUninit); err != nil {
			return err
		}
	}
	if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), merge.SetBits(0, uint32(ino-1)%s.InodesPerGroup)); err != nil {
		return err
	}
	if dir {
		if err := o.addDirs(g, 1); err != nil {
			return err
		}
	}
	n.Ino, n.Generation, n.fs = ino, rand.Uint32(), o.fs
	p := make([]byte, s.InodeSize)
	s.EncodeInode(&n.Inode, p)
	o.tx.Group(uint64(ino))
	return o.setInode(ino, 0, p)
}

// addDirs adds to the count of directories of a group.
func (o *op) addDirs(g disk.Group, delta int64) error {
	n, at := o.w.super.DescBlock(g)
	f := merge.Field{Off: uint32(at) + 0x10, Width: 2}
	return o.edit(n, kindGroupDesc, 0, merge.Add(f, delta, 0, 1<<16-1))
}

// freeInode frees an inode in the transaction: its slot keeps what tells a tool that it was one, and the time.
func (o *op) freeInode(n *Inode) error {
	s := o.w.super
	g := disk.Group(uint32(n.Ino-1) / s.InodesPerGroup)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return err
	}
	o.w.groups[g].mu.Lock()
	if _, err = o.w.load(g); err == nil { // the inode may be used as soon as the commit is there: not before releaseInode
		o.w.groups[g].pins++
		o.freed = append(o.freed, taken{n.Ino, n.IsDir()})
	}
	o.w.groups[g].mu.Unlock()
	if err != nil {
		return err
	}
	if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), merge.ClearBits(0, uint32(n.Ino-1)%s.InodesPerGroup)); err != nil {
		return err
	}
	if n.IsDir() {
		if err := o.addDirs(g, -1); err != nil {
			return err
		}
	}
	// Mode goes, too, as in the kernel: what is left says when.
	dtime, _ := disk.PackTime(o.now, false)
	for _, off := range []uint32{disk.OffMode, disk.OffLinks, disk.OffBlocksHigh} {
		if err := o.setInode(n.Ino, off, []byte{0, 0}); err != nil {
			return err
		}
	}
	for _, off := range []uint32{disk.OffSizeLow, disk.OffSizeHigh, disk.OffBlocksLow} {
		if err := o.setWord(n.Ino, off, 0); err != nil {
			return err
		}
	}
	return o.setWord(n.Ino, disk.OffDtime, max(dtime, 1))
}

// reserveInode chooses an inode: a file's near its directory, a directory's by Orlov's rule.
func (w *Writable) reserveInode(parent *Inode, dir bool) (Ino, error) {
	groups := uint32(len(w.groups))
	home := uint32(parent.Ino-1) / w.super.InodesPerGroup
	first := home
	if dir {
		first = w.spreadDirs(parent, home)
	}
	for i := range groups {
		g := disk.Group((first + i) % groups)
		ino, err := w.reserveInodeIn(g, dir)
		if err != nil || ino != 0 {
			return ino, err
		}
	}
	return 0, ErrNoSpace
}

// spreadDirs is the group for a new directory (Orlov; kernel, fs/ext4/ialloc.c): those of the root are spread over the groups with more than the
// average free; others stay with their parent unless that group is worse off than most.
func (w *Writable) spreadDirs(parent *Inode, home uint32) uint32 {
	groups := uint32(len(w.groups))
	blocks, inodes := int(w.freeBlocks.Load())/int(groups), int(w.freeInodes.Load())/int(groups)
	start := home
	if parent.Ino == RootIno || parent.Has(disk.InodeTopDir) {
		start = w.spread.Add(1) * 7
	} else {
		blocks, inodes = blocks/2, inodes/2
	}
	best, dirs := start%groups, 1<<30
	for i := range min(groups, 64) {
		g := (start + i) % groups
		gr := &w.groups[g]
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

func (w *Writable) reserveInodeIn(g disk.Group, dir bool) (Ino, error) {
	gr := &w.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if gr.counted && gr.freeInodes == 0 {
		return 0, nil
	}
	if _, err := w.load(g); err != nil {
		return 0, err
	}
	from := uint32(0)
	if g == 0 {
		from = uint32(w.super.FirstIno) - 1
	}
	at, n := findRun(gr.inodes, from, w.super.InodesPerGroup, 1)
	if n == 0 {
		return 0, nil
	}
	gr.inodes[at/8] |= 1 << (at % 8)
	gr.freeInodes--
	gr.pins++
	if dir {
		gr.dirs++
	}
	w.freeInodes.Add(-1)
	return Ino(uint32(g)*w.super.InodesPerGroup + at + 1), nil
}

// keepInode notes that a transaction which reserved or freed an inode is done with it.
func (w *Writable) keepInode(t taken) {
	gr := &w.groups[uint32(t.ino-1)/w.super.InodesPerGroup]
	gr.mu.Lock()
	gr.unpin(1)
	gr.mu.Unlock()
}

// releaseInode makes an inode available again.
func (w *Writable) releaseInode(t taken) {
	gr := &w.groups[uint32(t.ino-1)/w.super.InodesPerGroup]
	at := uint32(t.ino-1) % w.super.InodesPerGroup
	gr.mu.Lock()
	gr.inodes[at/8] &^= 1 << (at % 8)
	gr.freeInodes++
	gr.unpin(1)
	if t.dir {
		gr.dirs--
	}
	gr.mu.Unlock()
	w.freeInodes.Add(1)
}
