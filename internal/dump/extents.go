package dump

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Extents shows how an inode maps its blocks: the nodes of its extent tree, or its indirect blocks.
func Extents(fs *ext4.FS, ino ext4.Ino, found Sink) error {
	n, at, problem, err := fs.StoredInode(ino)
	if err != nil {
		return err
	}
	w := &mapWalk{fs: fs, n: n, found: found, seen: map[block.Number]bool{}}
	r := &Record{Which: fmt.Sprintf("of inode %d", ino)}
	r.at(at.Block, at.Offset+disk.OffBlock, n.Block).wrong(problem)
	switch {
	case n.Has(disk.InodeInlineData):
		r.Kind = "inline data"
		head, tail, err := n.InlineParts()
		r.wrong(err).number("bytes", n.Size).number("room", uint64(len(head)+len(tail)))
		return found(r)
	case n.Has(disk.InodeExtents):
		r.Kind = "extent root"
		node, err := disk.DecodeExtentRoot(n.Block)
		r.stored(disk.ExtentHeaderLayout, n.Block, nil).wrong(err)
		if err := found(r); err != nil || r.err != nil && node.Entries() == 0 {
			return err
		}
		return w.node(node)
	case fs.Superblock().FastSymlink(&n.Inode):
		r.Kind = "target"
		return found(r.text("target", string(n.Block[:min(int(n.Size), len(n.Block))])))
	case n.IsDevice():
		r.Kind = "device"
		return found(r)
	}
	r.Kind = "block pointers"
	if err := found(r); err != nil {
		return err
	}
	return w.pointers(n.Block)
}

// mapWalk is a walk over the blocks that an inode's mapping lies in. Each is entered once.
type mapWalk struct {
	fs    *ext4.FS
	n     *ext4.Inode
	found Sink
	seen  map[block.Number]bool
}

// enter reads a block of the mapping; r gets what is wrong with it.
func (w *mapWalk) enter(r *Record, at block.Number) []byte {
	where := fmt.Sprintf("inode %d", w.n.Ino)
	s := w.fs.Superblock()
	switch {
	case !s.Contains(at, 1):
		r.wrong(ondisk.Corruptf(where, "points at block %d, past the image's %d", uint64(at), uint64(s.Blocks)))
		return nil
	case w.seen[at]:
		r.wrong(ondisk.Corruptf(where, "block %d is twice in its mapping", uint64(at)))
		return nil
	}
	w.seen[at] = true
	p, err := w.fs.Block(at)
	if err != nil {
		r.wrong(err)
		return nil
	}
	r.at(at, 0, p)
	return p
}

// node shows the entries of a node, and all nodes below it.
func (w *mapWalk) node(node disk.ExtentNode) error {
	s := w.fs.Superblock()
	for i := range node.Entries() {
		r := &Record{line: true}
		if node.Depth() == 0 {
			e := node.Extent(i)
			r.Kind = "extent"
			r.number("ee_block", uint64(e.File)).number("ee_len", uint64(e.Len)).number("ee_start", uint64(e.Start))
			if e.Unwritten {
				r.text("state", "unwritten")
			}
			if err := w.found(r.wrong(s.CheckExtent(e))); err != nil {
				return err
			}
			continue
		}
		x := node.Index(i)
		r.Kind = "index"
		if err := w.found(r.number("ei_block", uint64(x.File)).number("ei_leaf", uint64(x.Leaf))); err != nil {
			return err
		}
		if err := w.below(x.Leaf, node.Depth()-1); err != nil {
			return err
		}
	}
	return nil
}

// below shows the node in a block.
func (w *mapWalk) below(at block.Number, depth int) error {
	r := &Record{Kind: "extent node", Which: fmt.Sprintf("of inode %d", w.n.Ino)}
	p := w.enter(r, at)
	if p == nil {
		return w.found(r)
	}
	s := w.fs.Superblock()
	node, err := s.DecodeExtentBlock(w.n.Seed(), depth, p)
	r.stored(disk.ExtentHeaderLayout, p, nil).wrong(err)
	if err != nil {
		if node, err = s.Unsealed().DecodeExtentBlock(w.n.Seed(), depth, p); err != nil {
			return w.found(r)
		}
	}
	if err := w.found(r); err != nil {
		return err
	}
	return w.node(node)
}

// pointers shows the block pointers of an inode without extents.
func (w *mapWalk) pointers(p []byte) error {
	const direct = 12
	get := func(i int) block.Number { return block.Number(binary.LittleEndian.Uint32(p[4*i:])) }
	per := uint64(w.fs.Superblock().BlockSize) / 4
	if err := w.level(p[:4*direct], 0, 0, 1); err != nil {
		return err
	}
	first, span := uint64(direct), per
	for level := 1; level <= 3; level++ {
		if at := get(direct + level - 1); at != 0 {
			if err := w.indirect(at, first, level, span/per); err != nil {
				return err
			}
		}
		first += span
		span *= per
	}
	return nil
}

// indirect shows an indirect block whose pointers stand for so many file blocks each, and all below it.
func (w *mapWalk) indirect(at block.Number, first uint64, level int, span uint64) error {
	r := &Record{Kind: "indirect block", Which: fmt.Sprintf("of inode %d", w.n.Ino)}
	r.number("level", uint64(level)).number("file_block", first)
	p := w.enter(r, at)
	if err := w.found(r); err != nil || p == nil {
		return err
	}
	return w.level(p, first, level-1, span)
}

// level shows the pointers of one block: runs of data, or the blocks of the next level.
func (w *mapWalk) level(p []byte, first uint64, level int, span uint64) error {
	get := func(i int) block.Number { return block.Number(binary.LittleEndian.Uint32(p[4*i:])) }
	per := uint64(w.fs.Superblock().BlockSize) / 4
	s := w.fs.Superblock()
	for i := 0; i < len(p)/4; i++ {
		at := get(i)
		if at == 0 {
			continue
		}
		file := first + uint64(i)*span
		if level > 0 {
			if err := w.indirect(at, file, level, span/per); err != nil {
				return err
			}
			continue
		}
		n := 1
		for i+n < len(p)/4 && get(i+n) == at+block.Number(n) {
			n++
		}
		r := &Record{Kind: "run", line: true}
		r.number("file_block", file).number("blocks", uint64(n)).number("start", uint64(at))
		if !s.Contains(at, uint64(n)) {
			r.wrong(ondisk.Corruptf(fmt.Sprintf("inode %d", w.n.Ino), "points at block %d, past the image's %d",
				uint64(at), uint64(s.Blocks)))
		}
		if err := w.found(r); err != nil {
			return err
		}
		i += n - 1
	}
	return nil
}
