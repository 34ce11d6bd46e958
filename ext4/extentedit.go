package ext4

import (
	"encoding/binary"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

const entrySize = 12

// extNode is a node of an extent tree on the way from the root to a leaf: a copy, which is changed and then written.
type extNode struct {
	at block.Number // 0: the root, in the inode
	p  []byte
	i  int // the entry that the way down takes; in a leaf the last that begins at or before the block looked for, or -1
}

func (e *extNode) count() int    { return int(binary.LittleEndian.Uint16(e.p[2:])) }
func (e *extNode) capacity() int { return int(binary.LittleEndian.Uint16(e.p[4:])) }
func (e *extNode) depth() int    { return int(binary.LittleEndian.Uint16(e.p[6:])) }

func (e *extNode) setCount(n int) { binary.LittleEndian.PutUint16(e.p[2:], uint16(n)) }

func (e *extNode) entry(i int) []byte        { return e.p[entrySize*(1+i) : entrySize*(2+i)] }
func (e *extNode) first(i int) uint64        { return uint64(binary.LittleEndian.Uint32(e.entry(i))) }
func (e *extNode) extent(i int) disk.Extent  { return disk.DecodeExtent(e.entry(i)) }
func (e *extNode) put(i int, x disk.Extent)  { disk.EncodeExtent(e.entry(i), x) }
func (e *extNode) setFirst(i int, v uint64)  { binary.LittleEndian.PutUint32(e.entry(i), uint32(v)) }
func (e *extNode) leafAt(i int) block.Number { return leafOf(e.entry(i)) }

func leafOf(p []byte) block.Number {
	return block.Number(binary.LittleEndian.Uint16(p[8:]))<<32 | block.Number(binary.LittleEndian.Uint32(p[4:]))
}

// insert puts an entry before entry i. The node has room.
func (e *extNode) insert(i int, entry []byte) {
	n := e.count()
	copy(e.p[entrySize*(2+i):entrySize*(2+n)], e.p[entrySize*(1+i):entrySize*(1+n)])
	copy(e.entry(i), entry)
	e.setCount(n + 1)
}

func (e *extNode) remove(i int) {
	n := e.count()
	copy(e.p[entrySize*(1+i):], e.p[entrySize*(2+i):entrySize*(1+n)])
	clear(e.entry(n - 1))
	e.setCount(n - 1)
}

func endOf(e disk.Extent) uint64 { return uint64(e.File) + uint64(e.Len) }

// extPath walks from the root to the leaf that covers a file block.
func (o *op) extPath(n *Inode, b uint64) ([]extNode, error) {
	root := slices.Clone(n.Block)
	node, err := disk.DecodeExtentRoot(root)
	if err != nil {
		return nil, n.wrap(err)
	}
	path := []extNode{{0, root, node.Search(FileBlock(b))}}
	for {
		top := &path[len(path)-1]
		if top.depth() == 0 {
			return path, nil
		}
		top.i = max(top.i, 0)
		index := node.Index(top.i)
		if node, err = n.extentNode(index, top.depth()-1); err != nil {
			return nil, err
		}
		p, err := o.fs.block(index.Leaf)
		if err != nil {
			return nil, err
		}
		path = append(path, extNode{index.Leaf, slices.Clone(p), node.Search(FileBlock(b))})
	}
}

// writeNode writes a changed node.
func (o *op) writeNode(n *Inode, e *extNode) error {
	if e.at == 0 {
		n.Block = slices.Clone(e.p)
		return o.setInode(n.Ino, disk.OffBlock, n.Block)
	}
	return o.edit(e.at, kindExtents, owner64(n), merge.Extent(0, slices.Clone(e.p[:entrySize*(1+e.count())])))
}

// newNode allocates a node that is a block.
func (o *op) newNode(n *Inode, depth int) (extNode, error) {
	at, err := o.allocateNode(n)
	if err != nil {
		return extNode{}, err
	}
	p := make([]byte, o.w.super.BlockSize)
	disk.EncodeExtentNode(p, 0, o.w.super.ExtentCapacity(), depth)
	if err := o.edit(at, kindExtents, owner64(n), merge.Whole(slices.Clone(p))); err != nil {
		return extNode{}, err
	}
	return extNode{at: at, p: p}, o.addClusters(n, 1)
}

// fixFirst sets the first file block in the entries above a node to the node's own.
func (o *op) fixFirst(n *Inode, path []extNode, level int) error {
	for ; level > 0; level-- {
		up := &path[level-1]
		if up.first(up.i) == path[level].first(0) {
			return nil
		}
		up.setFirst(up.i, path[level].first(0))
		if err := o.writeNode(n, up); err != nil {
			return err
		}
		if up.i > 0 {
			return nil
		}
	}
	return nil
}

// insertEntry puts an entry before entry pos of the node at a level of the path, splitting full nodes and growing the
// tree as needed.
func (o *op) insertEntry(n *Inode, path []extNode, level, pos int, entry []byte) error {
	e := &path[level]
	if e.count() < e.capacity() {
		e.insert(pos, entry)
		if err := o.writeNode(n, e); err != nil || pos > 0 {
			return err
		}
		return o.fixFirst(n, path, level)
	}
	if level == 0 {
		path, err := o.growTree(n, path)
		if err != nil {
			return err
		}
		return o.insertEntry(n, path, 1, pos, entry)
	}
	right, err := o.newNode(n, e.depth())
	if err != nil {
		return err
	}
	cut := e.count() / 2
	if pos == e.count() {
		cut = pos // files grow at their end: the full node stays full
	}
	for i := cut; i < e.count(); i++ {
		right.insert(i-cut, e.entry(i))
	}
	e.setCount(cut)
	if pos >= cut {
		right.insert(pos-cut, entry)
	} else {
		e.insert(pos, entry)
	}
	if err := o.writeNode(n, e); err != nil {
		return err
	}
	if err := o.writeNode(n, &right); err != nil {
		return err
	}
	if pos == 0 {
		if err := o.fixFirst(n, path, level); err != nil {
			return err
		}
	}
	index := make([]byte, entrySize)
	disk.EncodeExtentIndex(index, disk.ExtentIndex{File: FileBlock(right.first(0)), Leaf: right.at})
	return o.insertEntry(n, path, level-1, path[level-1].i+1, index)
}

// growTree moves the root's entries into a new node below it.
func (o *op) growTree(n *Inode, path []extNode) ([]extNode, error) {
	root := &path[0]
	if root.depth() >= disk.MaxExtentDepth {
		return nil, ErrTooBig
	}
	child, err := o.newNode(n, root.depth())
	if err != nil {
		return nil, err
	}
	for i := range root.count() {
		child.insert(i, root.entry(i))
	}
	child.i = root.i
	p := make([]byte, len(root.p))
	disk.EncodeExtentNode(p, 1, root.capacity(), root.depth()+1)
	disk.EncodeExtentIndex(p[entrySize:], disk.ExtentIndex{File: FileBlock(child.first(0)), Leaf: child.at})
	top := extNode{p: p}
	if err := o.writeNode(n, &child); err != nil {
		return nil, err
	}
	if err := o.writeNode(n, &top); err != nil {
		return nil, err
	}
	return append([]extNode{top, child}, path[1:]...), nil
}

// joins reports whether two extents are one.
func joins(a, b disk.Extent) bool {
	return endOf(a) == uint64(b.File) && a.Start+block.Number(a.Len) == b.Start && a.Unwritten == b.Unwritten &&
		a.Len+b.Len <= disk.MaxExtentLen(a.Unwritten)
}

// insertExtent maps file blocks that are not mapped yet, and joins the extent with its neighbours.
func (o *op) insertExtent(n *Inode, e disk.Extent) error {
	path, err := o.extPath(n, uint64(e.File))
	if err != nil {
		return err
	}
	last := len(path) - 1
	leaf := &path[last]
	i := leaf.i
	if i >= 0 && joins(leaf.extent(i), e) {
		left := leaf.extent(i)
		left.Len += e.Len
		leaf.put(i, left)
		if i+1 < leaf.count() && joins(left, leaf.extent(i+1)) {
			left.Len += leaf.extent(i + 1).Len
			leaf.put(i, left)
			leaf.remove(i + 1)
		}
		return o.writeNode(n, leaf)
	}
	if i+1 < leaf.count() && joins(e, leaf.extent(i+1)) {
		right := leaf.extent(i + 1)
		e.Len += right.Len
		leaf.put(i+1, e)
		if err := o.writeNode(n, leaf); err != nil || i+1 > 0 {
			return err
		}
		return o.fixFirst(n, path, last)
	}
	entry := make([]byte, entrySize)
	disk.EncodeExtent(entry, e)
	return o.insertEntry(n, path, last, i+1, entry)
}

// cutExtents unmaps file blocks from, up to to, and frees them if free is set. It stops after limit extents, and
// reports whether all is done.
func (o *op) cutExtents(n *Inode, from, to uint64, free bool, limit int) (done bool, err error) {
	for from < to {
		path, err := o.extPath(n, from)
		if err != nil {
			return false, err
		}
		leaf := &path[len(path)-1]
		i := leaf.i
		if i < 0 || endOf(leaf.extent(i)) <= from {
			i++
		}
		if i >= leaf.count() {
			next, ok := nextLeaf(path)
			if !ok || next >= to {
				break
			}
			from = next
			continue
		}
		e := leaf.extent(i)
		if uint64(e.File) >= to {
			break
		}
		if limit--; limit < 0 {
			return false, nil
		}
		a, b := max(from, uint64(e.File)), min(to, endOf(e))
		if free {
			part := disk.Extent{File: FileBlock(a), Len: uint32(b - a), Start: e.Start + block.Number(a-uint64(e.File))}
			if err := o.freeBlocks(n, part); err != nil {
				return false, err
			}
		}
		if err := o.cutOne(n, path, i, a, b); err != nil {
			return false, err
		}
		from = b
	}
	return true, o.shrinkTree(n)
}

// nextLeaf is the first block of the leaf behind the one that a path leads to.
func nextLeaf(path []extNode) (uint64, bool) {
	for level := len(path) - 2; level >= 0; level-- {
		if e := &path[level]; e.i+1 < e.count() {
			return e.first(e.i + 1), true
		}
	}
	return 0, false
}

// cutOne takes blocks a to b out of entry i of the leaf of a path.
func (o *op) cutOne(n *Inode, path []extNode, i int, a, b uint64) error {
	last := len(path) - 1
	leaf := &path[last]
	e := leaf.extent(i)
	left, right := e, e
	left.Len = uint32(a - uint64(e.File))
	right.File, right.Len, right.Start = FileBlock(b), uint32(endOf(e)-b), e.Start+block.Number(b-uint64(e.File))
	switch {
	case left.Len == 0 && right.Len == 0:
		leaf.remove(i)
		if leaf.count() == 0 && last > 0 {
			return o.removeNode(n, path, last)
		}
	case left.Len == 0:
		leaf.put(i, right)
	default:
		leaf.put(i, left)
	}
	if err := o.writeNode(n, leaf); err != nil {
		return err
	}
	if i == 0 && leaf.count() > 0 {
		if err := o.fixFirst(n, path, last); err != nil {
			return err
		}
	}
	if left.Len == 0 || right.Len == 0 {
		return nil
	}
	entry := make([]byte, entrySize)
	disk.EncodeExtent(entry, right)
	return o.insertEntry(n, path, last, i+1, entry)
}

// removeNode frees an empty node, and those above that become empty by it.
func (o *op) removeNode(n *Inode, path []extNode, level int) error {
	if err := o.freeOne(path[level].at); err != nil {
		return err
	}
	if err := o.addClusters(n, -1); err != nil {
		return err
	}
	up := &path[level-1]
	up.remove(up.i)
	switch {
	case up.count() > 0:
		if err := o.writeNode(n, up); err != nil || up.i > 0 {
			return err
		}
		return o.fixFirst(n, path, level-1)
	case level-1 > 0:
		return o.removeNode(n, path, level-1)
	}
	disk.EncodeExtentNode(up.p, 0, up.capacity(), 0)
	return o.writeNode(n, up)
}

// shrinkTree moves the entries of a root's only child into the root, as long as that has room for it.
func (o *op) shrinkTree(n *Inode) error {
	for {
		root := extNode{p: slices.Clone(n.Block)}
		if root.depth() == 0 || root.count() != 1 {
			return nil
		}
		at := root.leafAt(0)
		p, err := o.fs.block(at)
		if err != nil {
			return err
		}
		child := extNode{at: at, p: p}
		if child.count() > root.capacity() {
			return nil
		}
		q := make([]byte, len(root.p))
		disk.EncodeExtentNode(q, child.count(), root.capacity(), child.depth())
		copy(q[entrySize:], child.p[entrySize:entrySize*(1+child.count())])
		if err := o.freeOne(at); err != nil {
			return err
		}
		if err := o.addClusters(n, -1); err != nil {
			return err
		}
		if err := o.writeNode(n, &extNode{p: q}); err != nil {
			return err
		}
	}
}
