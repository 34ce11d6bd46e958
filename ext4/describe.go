package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
)

var kindNames = map[uint8]string{
	kindInodes: "inode table", kindBlockMap: "block bitmap", kindInodeMap: "inode bitmap", kindGroupDesc: "group descriptors", kindSuper: "superblock",
	kindDirLeaf: "directory", kindHtreeRoot: "directory index", kindHtreeNode: "directory index", kindExtents: "extent tree", kindPlain: "file data or pointers",
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
func (l *Live) Describe(n block.Number) string {
	if f, ok := l.kinds[n]; ok {
		if f.kind == kindSuper || f.kind == kindOrphanFile {
			return KindName(f.kind)
		}
		return fmt.Sprintf("%s of group %d", KindName(f.kind), f.group)
	}
	g, _ := l.place(n)
	for t := range l.super.Groups() {
		if at, err := l.base.inodeTable(t); err == nil && n >= at && n < at+block.Number(l.super.ITableBlocks()) {
			per := uint32(l.super.BlockSize) / uint32(l.super.InodeSize)
			first := uint32(t)*l.super.InodesPerGroup + uint32(n-at)*per + 1
			return fmt.Sprintf("inodes %d to %d", first, first+per-1)
		}
	}
	return fmt.Sprintf("a block of group %d", g)
}
