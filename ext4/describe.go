package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
)

var kindNames = map[uint8]string{
	kindInodes: "inode table", kindBlockMap: "block bitmap", kindInodeMap: "inode bitmap",
	kindGroupDesc: "group descriptors", kindSuper: "superblock", kindDirLeaf: "directory",
	kindHtreeRoot: "directory index", kindHtreeNode: "directory index",
	kindExtents: "extent tree", kindPlain: "file data or pointers",
	kindXattrs: "extended attributes", kindOrphanFile: "orphan file",
}

// KindName is the name of a kind of block, as the sealer knows it.
func KindName(kind uint8) string {
	if n, ok := kindNames[kind]; ok {
		return n
	}
	return "other"
}

// Describe says what a block is, as far as that follows from its place.
func (w *Writable) Describe(n block.Number) string {
	if f, ok := w.kinds[n]; ok {
		if f.kind == kindSuper || f.kind == kindOrphanFile {
			return KindName(f.kind)
		}
		return fmt.Sprintf("%s of group %d", KindName(f.kind), f.group)
	}
	g, _ := w.alloc.place(clusterOf(w.super, n))
	for t := range w.super.Groups() {
		if at, err := w.base.inodeTable(t); err == nil && n >= at && n < at+block.Number(w.super.ITableBlocks()) {
			per := uint32(w.super.BlockSize) / uint32(w.super.InodeSize)
			first := uint32(t)*w.super.InodesPerGroup + uint32(n-at)*per + 1
			return fmt.Sprintf("inodes %d to %d", first, first+per-1)
		}
	}
	return fmt.Sprintf("a block of group %d", g)
}
