package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// mapExtent walks the extent tree from the root in the inode down to the leaf that covers b. Each level's depth is one
// less than the level's above, so the walk ends in a damaged tree, too.
func (n *Inode) mapExtent(b FileBlock) (Run, error) {
	node, err := disk.DecodeExtentRoot(n.Block)
	if err != nil {
		return Run{}, n.wrap(err)
	}
	low, next := uint64(0), uint64(maxFileBlocks) // the leaf covers file blocks from low up to next
	for node.Depth() > 0 {
		i := node.Search(b)
		if i < 0 {
			return hole(b, min(next, uint64(node.First(0)))), nil
		}
		index := node.Index(i)
		low = max(low, uint64(index.File))
		if i+1 < node.Entries() {
			next = min(next, uint64(node.First(i+1)))
		}
		if node, err = n.extentNode(index, node.Depth()-1); err != nil {
			return Run{}, err
		}
	}
	i := node.Search(b)
	if i+1 < node.Entries() {
		next = min(next, uint64(node.First(i+1)))
	}
	if i < 0 {
		return hole(b, next), nil
	}
	e := node.Extent(i)
	if err := n.fs.super.CheckExtent(e); err != nil {
		return Run{}, n.wrap(err)
	}
	end := uint64(e.File) + uint64(e.Len)
	if end > next || uint64(e.File) < low {
		return Run{}, ondisk.Corruptf(n.where(), "extents at file block %d overlap", e.File)
	}
	if uint64(b) >= end {
		return hole(b, next), nil
	}
	r := Run{Kind: Data, Start: e.Start + block.Number(b-e.File), Len: end - uint64(b)}
	if e.Unwritten {
		r.Kind = Unwritten
	}
	return r, nil
}

// extentNode reads and checks the tree node that an index entry points at.
func (n *Inode) extentNode(index disk.ExtentIndex, depth int) (disk.ExtentNode, error) {
	if !n.fs.super.Contains(index.Leaf, 1) {
		return disk.ExtentNode{}, ondisk.Corruptf(
			n.where(),
			"extent index at file block %d points at block %d, past the image's %d",
			index.File,
			uint64(index.Leaf),
			uint64(n.fs.super.Blocks),
		)
	}
	p, err := n.fs.block(index.Leaf)
	if err != nil {
		return disk.ExtentNode{}, fmt.Errorf("inode %d, extent tree: %w", n.Ino, err)
	}
	if err := n.fs.view.depend(index.Leaf, p); err != nil {
		return disk.ExtentNode{}, err
	}
	node, err := n.fs.decoder(index.Leaf).DecodeExtentBlock(n.seed(), depth, p)
	if err != nil {
		return node, fmt.Errorf("inode %d, %v: %w", n.Ino, index.Leaf, err)
	}
	if node.Entries() > 0 && node.First(0) < index.File {
		return node, ondisk.Corruptf(n.where(), "extent node in block %d begins at file block %d, its index at %d",
			uint64(index.Leaf), node.First(0), index.File)
	}
	return node, nil
}

// hole is the run from b up to the next mapped block.
func hole(b FileBlock, next uint64) Run {
	return Run{Kind: Hole, Len: max(next, uint64(b)+1) - uint64(b)}
}
