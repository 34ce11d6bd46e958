package ext4

import (
	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Kind is the kind of a run of file blocks.
type Kind uint8

// The kinds of runs.
const (
	Hole      Kind = iota // not allocated; reads as zeros
	Unwritten             // allocated, never written; reads as zeros
	Data                  // allocated and written
)

// Run is a run of file blocks that lie on the image one after the other, or not at all.
type Run struct {
	Kind  Kind
	Start block.Number // the first block on the image; 0 for a hole
	Len   uint64       // blocks; at least 1
}

// maxFileBlocks bounds a hole at the end of a file.
const maxFileBlocks = 1 << 32

// Map returns the run of blocks that begins at file block b. Runs end where the mapping does, not at the file's size;
// two runs in a row may be of one kind.
func (n *Inode) Map(b FileBlock) (Run, error) {
	if n.fs.fast != nil {
		if m := n.fs.fast.maps[n.Ino]; m != nil {
			return m.lookup(n, b)
		}
	}
	return n.mapHome(b)
}

// mapHome maps by the trees of the inode itself.
func (n *Inode) mapHome(b FileBlock) (Run, error) {
	if n.Has(disk.InodeExtents) {
		return n.mapExtent(b)
	}
	return n.mapIndirect(b)
}
