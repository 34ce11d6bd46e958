package ext4

import (
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// allocate takes clusters in the transaction: up to want of them near a goal.
func (o *op) allocate(goal block.Number, want uint32) (run, error) {
	r, err := o.w.alloc.reserve(clusterAt(o.w.super, goal), want, 0, claim{o.cred, false})
	if err != nil {
		return r, err
	}
	return o.use(r)
}

// allocateOne takes a cluster for one block of metadata of an inode, which is its first.
func (o *op) allocateOne(n *Inode) (block.Number, error) {
	r, err := o.allocate(o.goal(n, 0), 1)
	return r.start.first(o.w.super), err
}

// allocateNode takes a cluster for the node of an extent tree, which is its first block.
func (o *op) allocateNode(n *Inode) (block.Number, error) {
	goal := clusterAt(o.w.super, o.goal(n, 0))
	r, err := o.w.alloc.reserve(goal, 1, 0, claim{o.cred, o.promised && !mutant.Off(mutant.NodeReserve)})
	if err == nil {
		r, err = o.use(r)
	}
	return r.start.first(o.w.super), err
}

// allocateGrowing is allocate for what makes a file longer, to size bytes.
func (o *op) allocateGrowing(n *Inode, goal block.Number, want uint32, size uint64) (run, error) {
	r, err := o.w.alloc.reserveGrowing(n.Ino, clusterAt(o.w.super, goal), want, size, o.cred)
	if err != nil {
		return r, err
	}
	return o.use(r)
}

// use marks reserved clusters as used, in the transaction.
func (o *op) use(r run) (run, error) {
	o.took = append(o.took, r)
	g, at := o.w.alloc.place(r.start)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return r, err
	}
	if d.Flags&disk.GroupBlockUninit != 0 {
		p := make([]byte, o.w.super.BlockSize)
		o.w.base.initBlocks(g, d, p)
		if err := o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.Whole(p)); err != nil {
			return r, err
		}
		if err := o.clearGroupFlag(g, disk.GroupBlockUninit); err != nil {
			return r, err
		}
	}
	return r, o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.SetBits(0, sequence(at, r.n)...))
}

// clearGroupFlag clears a flag of a group's descriptor.
func (o *op) clearGroupFlag(g disk.Group, flag uint16) error {
	n, at := o.w.super.DescBlock(g)
	f := merge.Field{Off: uint32(at) + 0x12, Width: 2}
	return o.edit(n, kindGroupDesc, 0, merge.Reapply(func(p []byte) error {
		f.Put(p, f.Get(p)&^uint64(flag))
		return nil
	}))
}

func sequence(at, n uint32) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = at + uint32(i)
	}
	return out
}

// freeOne frees the cluster that a block of metadata has for itself.
func (o *op) freeOne(at block.Number) error {
	if err := o.free(run{clusterOf(o.w.super, at), 1}); err != nil {
		return err
	}
	o.tx.Free(at)
	return nil
}

// free frees clusters in the transaction. They may be used again when it is durable (W4). Their blocks that may have
// copies in the journal are for the caller to name (Tx.Free).
func (o *op) free(r run) error {
	per := uint64(o.w.super.ClusterBlocks)
	if err := o.w.own.check(r.start.first(o.w.super), uint64(r.n)*per); err != nil {
		return err
	}
	for start, n := r.start, r.n; n > 0; {
		g, at := o.w.alloc.place(start)
		k := min(n, o.w.super.GroupClusters(g)-at)
		d, err := o.fs.GroupDesc(g)
		if err != nil {
			return err
		}
		sound, err := o.w.alloc.mayFree(g)
		if err != nil {
			return err
		}
		if sound {
			o.gave = append(o.gave, run{start, k})
			o.w.alloc.eachPart(run{start, k}, func(gr *group, _ uint32, part run) { gr.retain(part) })
			if err := o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.ClearBits(0, sequence(at, k)...)); err != nil {
				return err
			}
		}
		start, n = start+cluster(k), n-k
	}
	return nil
}

// newInode allocates an inode and writes its slot: n has everything but its number and generation, which are set.
func (o *op) newInode(n *Inode, parent *Inode) error {
	dir := n.IsDir()
	ino, err := o.w.alloc.reserveInode(parent, dir)
	if err != nil {
		return err
	}
	if err := o.useInode(taken{ino, dir}); err != nil {
		return err
	}
	n.Ino, n.Generation, n.fs = ino, o.w.opts.Generation(), o.fs
	p := make([]byte, o.w.super.InodeSize)
	o.w.super.EncodeInode(&n.Inode, p)
	o.tx.Group(uint64(ino))
	if err := o.setInode(ino, 0, p); err != nil {
		return err
	}
	return o.charge(n, 0, 1)
}

// useInode marks a reserved inode as used, in the transaction.
func (o *op) useInode(t taken) error {
	o.inos = append(o.inos, t)
	s := o.w.super
	g := disk.Group(uint32(t.ino-1) / s.InodesPerGroup)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return err
	}
	if d.Flags&disk.GroupInodeUninit != 0 {
		p := make([]byte, s.BlockSize)
		o.w.base.initInodes(p)
		if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), merge.Whole(p)); err != nil {
			return err
		}
		if err := o.clearGroupFlag(g, disk.GroupInodeUninit); err != nil {
			return err
		}
	}
	used := merge.SetBits(0, uint32(t.ino-1)%s.InodesPerGroup)
	if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), used); err != nil {
		return err
	}
	if t.dir {
		if err := o.addDirs(g, 1); err != nil {
			return err
		}
	}
	return nil
}

// addDirs adds to the count of directories of a group.
func (o *op) addDirs(g disk.Group, delta int64) error {
	n, at := o.w.super.DescBlock(g)
	f := merge.Field{Off: uint32(at) + 0x10, Width: 2}
	return o.edit(n, kindGroupDesc, 0, merge.Add(f, delta, 0, 1<<16-1))
}

// freeInode frees an inode in the transaction: its slot keeps what shows a tool that it was one, and the time.
func (o *op) freeInode(n *Inode) error {
	s := o.w.super
	g := disk.Group(uint32(n.Ino-1) / s.InodesPerGroup)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return err
	}
	sound := false
	o.w.alloc.groups[g].mu.Lock()
	if _, err = o.w.alloc.load(g); err == nil {
		sound = !o.w.alloc.groups[g].badInodes
	}
	if sound { // the inode may be used as soon as the commit is there: not before releaseInode
		o.w.alloc.groups[g].refs++
		o.freed = append(o.freed, taken{n.Ino, n.IsDir()})
	}
	o.w.alloc.groups[g].mu.Unlock()
	if err != nil {
		return err
	}
	if sound {
		unused := merge.ClearBits(0, uint32(n.Ino-1)%s.InodesPerGroup)
		if err := o.edit(d.InodeBitmap, kindInodeMap, uint64(g), unused); err != nil {
			return err
		}
	}
	if n.IsDir() {
		if err := o.addDirs(g, -1); err != nil {
			return err
		}
	}
	if err := o.charge(n, 0, -1); err != nil {
		return err
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
