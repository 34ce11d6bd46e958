package ext4

import (
	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Stat has the counts of statfs(2). Blocks are file-system blocks.
type Stat struct {
	BlockSize   block.Size
	Blocks      uint64 // without the file system's own overhead
	Free        uint64
	Available   uint64 // free, and not reserved for root
	Inodes      uint64
	FreeInodes  uint64
	MaxNameLen  uint32
	FilesystemU uint64 // an id from the UUID
}

// The kernel keeps back this many clusters of a file system with extents, for the nodes of their trees
// (fs/ext4/super.c, ext4_calculate_resv_clusters).
const (
	reservedShare = 50
	reservedMax   = 4096
)

// keptForNodes are the blocks that are kept back for nodes of extent trees.
func keptForNodes(s *disk.Superblock) uint64 {
	if s.Incompat&disk.IncompatExtents == 0 {
		return 0
	}
	return min(uint64(s.Blocks)/uint64(s.ClusterBlocks)/reservedShare, reservedMax) * uint64(s.ClusterBlocks)
}

// Stat sums up the group descriptors, once: the image does not change.
func (fs *FS) Stat() (Stat, error) {
	fs.statOnce.Do(func() { fs.statCache, fs.statErr = fs.stat() })
	return fs.statCache, fs.statErr
}

func (fs *FS) stat() (Stat, error) {
	s := fs.super
	out := Stat{BlockSize: s.BlockSize, Inodes: uint64(s.Inodes), MaxNameLen: MaxName}
	for i := range 8 {
		out.FilesystemU |= uint64(s.UUID[i]^s.UUID[8+i]) << (8 * i)
	}
	overhead := uint64(s.OverheadClusters) * uint64(s.ClusterBlocks)
	if overhead == 0 || overhead > uint64(s.Blocks) {
		overhead = uint64(s.FirstDataBlock)
		for g := range s.Groups() {
			overhead += fs.groupOverhead(g)
		}
		overhead += fs.journalBlocks()
	}
	out.Blocks = uint64(s.Blocks) - min(overhead, uint64(s.Blocks))
	for g := range s.Groups() {
		d, err := fs.GroupDesc(g)
		if err != nil {
			return out, err
		}
		out.Free += uint64(d.FreeBlocks) * uint64(s.ClusterBlocks)
		out.FreeInodes += uint64(d.FreeInodes)
	}
	out.Available = out.Free - min(s.ReservedBlocks+keptForNodes(s), out.Free)
	return out, nil
}

// groupOverhead is the number of blocks that a group's own tables take.
func (fs *FS) groupOverhead(g disk.Group) uint64 {
	return fs.super.HeadBlocks(g) + 2 + uint64(fs.super.ITableBlocks())
}

// journalBlocks is the size of an internal journal in blocks.
func (fs *FS) journalBlocks() uint64 {
	if fs.super.Compat&disk.CompatHasJournal == 0 || fs.super.JournalIno == 0 {
		return 0
	}
	var n Inode
	if err := fs.slot(&n, fs.super.JournalIno); err != nil {
		return 0
	}
	return n.Size / uint64(fs.super.BlockSize)
}
