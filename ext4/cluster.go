package ext4

import (
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// cluster is the number of a cluster: the unit in which blocks are allocated and freed. It is a block's number without
// bigalloc. With it, a file's block lies as far from the beginning of its cluster as the file block from that of the
// logical cluster, so all blocks of a file's logical cluster lie in one cluster, of which some may be mapped, or all
// (kernel, fs/ext4/extents.c: get_implied_cluster_alloc). A block of metadata has a cluster for itself.
//
//	file blocks   │ 0 1 2 3 │ 4 5 6 7 │ 8 9 …    4 blocks a cluster; 2 to 5 and 7 are mapped
//	extents       │     ███ │ ███   █ │
//	clusters      │    20   │   31    │          the hole at 6 has block 126 for itself, at no cost
type cluster uint64

// clusterOf is the cluster that a block lies in.
func clusterOf(s *disk.Superblock, n block.Number) cluster {
	return cluster(uint64(n) / uint64(s.ClusterBlocks))
}

// clusterAt is the first cluster that begins at a block or behind it.
func clusterAt(s *disk.Superblock, n block.Number) cluster {
	return clusterOf(s, n+block.Number(s.ClusterBlocks)-1)
}

// first is a cluster's first block.
func (c cluster) first(s *disk.Superblock) block.Number {
	return block.Number(c) * block.Number(s.ClusterBlocks)
}

// blocksFor finds blocks for up to want file blocks from at on, which are a hole: in the cluster that the file has
// there already, else in clusters from take.
func (o *op) blocksFor(
	n *Inode,
	at uint64,
	want uint32,
	take func(goal block.Number, want uint32) (run, error),
) (disk.Extent, error) {
	per := uint64(o.w.super.ClusterBlocks)
	within := at % per
	e := disk.Extent{File: FileBlock(at), Len: want}
	if per > 1 {
		start, held, err := n.clusterIn(at-within, at-within+per)
		if err != nil {
			return e, err
		}
		if held && !mutant.Off(mutant.ImpliedCluster) {
			e.Start, e.Len = start+block.Number(within), uint32(min(uint64(want), per-within))
			return e, nil
		}
		if last := (endOf(e) - 1) / per * per; last > at {
			_, held, err := n.clusterIn(last, last+per)
			if err != nil {
				return e, err
			}
			if held {
				e.Len = uint32(last - at)
			}
		}
	}
	r, err := take(o.goal(n, at), uint32((within+uint64(e.Len)+per-1)/per))
	if err != nil {
		return e, err
	}
	e.Start = r.start.first(o.w.super) + block.Number(within)
	e.Len = uint32(min(uint64(e.Len), uint64(r.n)*per-within))
	return e, nil
}

// clusterIn looks for a mapped block among file blocks of one logical cluster, from one up to another, and returns the
// first block of the cluster that it lies in.
func (n *Inode) clusterIn(from, to uint64) (start block.Number, held bool, err error) {
	per := uint64(n.fs.super.ClusterBlocks)
	for b := from; b < min(to, maxFileBlocks); {
		r, err := n.Map(FileBlock(b))
		if err != nil {
			return 0, false, err
		}
		if r.Kind != Hole {
			return r.Start - block.Number(b%per), true, n.checkAligned(b, r.Start)
		}
		b += r.Len
	}
	return 0, false, nil
}

// checkAligned checks that a file block lies at its place in a cluster.
func (n *Inode) checkAligned(file uint64, at block.Number) error {
	if per := uint64(n.fs.super.ClusterBlocks); uint64(at)%per != file%per {
		return ondisk.Corruptf(n.where(), "file block %d is block %d, at another place of its cluster of %d blocks",
			file, uint64(at), per)
	}
	return nil
}

// soleClusters are the clusters of an extent in which the file has no block but those of the extent.
func (n *Inode) soleClusters(e disk.Extent) (run, error) {
	s := n.fs.super
	r := run{start: clusterOf(s, e.Start)}
	r.n = uint32(clusterOf(s, e.Start+block.Number(e.Len)-1)-r.start) + 1
	per := uint64(s.ClusterBlocks)
	if per == 1 {
		return r, nil
	}
	file, end := uint64(e.File), endOf(e)
	if err := n.checkAligned(file, e.Start); err != nil {
		return r, err
	}
	_, before, err := n.clusterIn(file/per*per, file)
	if err != nil {
		return r, err
	}
	_, after, err := n.clusterIn(end, (end+per-1)/per*per)
	if err != nil || mutant.Off(mutant.SharedCluster) {
		return r, err
	}
	if (before || after) && r.n == 1 {
		return run{}, nil
	}
	if before {
		r.start, r.n = r.start+1, r.n-1
	}
	if after {
		r.n--
	}
	return r, nil
}

// mapBlocks maps blocks to a hole of a file. Clusters that it had no block of are new to it.
func (o *op) mapBlocks(n *Inode, e disk.Extent) error {
	if !n.Has(disk.InodeExtents) && o.w.super.ClusterBlocks > 1 {
		return n.noPointers()
	}
	r, err := n.soleClusters(e)
	if err != nil {
		return err
	}
	if err := o.addClusters(n, int64(r.n)); err != nil {
		return err
	}
	if n.Has(disk.InodeExtents) {
		return o.insertExtent(n, e)
	}
	for i := range e.Len {
		if err := o.setPointer(n, uint64(e.File)+uint64(i), e.Start+block.Number(i)); err != nil {
			return err
		}
	}
	return nil
}

// freeBlocks frees the clusters of blocks that are about to be unmapped. A cluster of which other blocks are mapped
// stays the file's, and all its blocks do.
func (o *op) freeBlocks(n *Inode, e disk.Extent) error {
	r, err := n.soleClusters(e)
	if err != nil || r.n == 0 {
		return err
	}
	if err := o.free(r); err != nil {
		return err
	}
	if n.IsDir() || o.w.opts.JournalData { // the journal may have copies
		first := r.start.first(o.w.super)
		for i := range uint64(r.n) * uint64(o.w.super.ClusterBlocks) {
			o.tx.Free(first + block.Number(i))
		}
	}
	return o.addClusters(n, -int64(r.n))
}

// hasPointers reports whether an inode has pointers to blocks.
func (n *Inode) hasPointers() bool {
	return n.hasBlocks() && !n.Has(disk.InodeExtents) && slices.ContainsFunc(n.Block, func(b byte) bool { return b != 0 })
}

// noPointers is the error for an inode of block pointers in a file system with clusters, where all have extents.
func (n *Inode) noPointers() error {
	return ondisk.Corruptf(n.where(), "has block pointers with bigalloc, expected extents: check the image with e2fsck")
}
