package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
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

// DescribeRange names the fields that a range of bytes of a block has, as far as that follows from the block's place.
func (w *Writable) DescribeRange(n block.Number, off, length uint32) []string {
	f, fixed := w.kinds[n]
	switch {
	case fixed && f.kind == kindBlockMap:
		per := block.Number(w.super.ClusterBlocks)
		first := w.super.FirstDataBlock + per*(block.Number(f.group)*block.Number(w.super.ClustersPerGroup)+
			block.Number(off)*8)
		return []string{fmt.Sprintf("blocks %d to %d", first, first+per*block.Number(length)*8-1)}
	case fixed && f.kind == kindInodeMap:
		first := uint32(f.group)*w.super.InodesPerGroup + off*8 + 1
		return []string{fmt.Sprintf("inodes %d to %d", first, first+length*8-1)}
	case fixed && f.kind == kindGroupDesc:
		per := int(w.super.BlockSize) / int(w.super.DescSize)
		return eachField(int(off), int(length), int(w.super.DescSize), disk.GroupField,
			func(i int, name string) string { return fmt.Sprintf("%s of group %d", name, int(f.group)/per*per+i) })
	}
	if first, ok := w.inodesAt(n); ok {
		return eachField(int(off), int(length), int(w.super.InodeSize), disk.InodeField,
			func(i int, name string) string { return fmt.Sprintf("%s of inode %d", name, int(first)+i) })
	}
	return []string{fmt.Sprintf("bytes %d to %d", off, off+length-1)}
}

// eachField names the fields of a range of an array of structures of a size. Equal names that follow one another are
// one.
func eachField(off, length, size int, field func(off int) (name string, end int),
	say func(index int, name string) string) (out []string) {
	for end := off + length; off < end; {
		at := off % size
		name, next := field(at)
		if s := say(off/size, name); len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
		off += min(next, size) - at
	}
	return out
}

// inodesAt reports whether a block is one of an inode table, and the number of its first inode.
func (w *Writable) inodesAt(n block.Number) (first uint32, ok bool) {
	for t := range w.super.Groups() {
		if at, err := w.base.inodeTable(t); err == nil && n >= at && n < at+block.Number(w.super.ITableBlocks()) {
			per := uint32(w.super.BlockSize) / uint32(w.super.InodeSize)
			return uint32(t)*w.super.InodesPerGroup + uint32(n-at)*per + 1, true
		}
	}
	return 0, false
}

// Describe says what a block is, as far as that follows from its place.
func (w *Writable) Describe(n block.Number) string {
	if f, ok := w.kinds[n]; ok {
		if f.kind == kindSuper || f.kind == kindOrphanFile {
			return KindName(f.kind)
		}
		return fmt.Sprintf("%s of group %d", KindName(f.kind), f.group)
	}
	if first, ok := w.inodesAt(n); ok {
		return fmt.Sprintf("inodes %d to %d", first, first+uint32(w.super.BlockSize)/uint32(w.super.InodeSize)-1)
	}
	g, _ := w.alloc.place(clusterOf(w.super, n))
	return fmt.Sprintf("a block of group %d", g)
}
