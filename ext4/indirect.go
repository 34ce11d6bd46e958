package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// Block pointers of an inode without extents: 12 direct ones, then one each of single, double and triple indirection
// (ext4 doc, "Direct/Indirect Block Addressing").
const (
	directPointers = 12
	pointerSize    = 4
)

// mapIndirect follows the pointers of a file without extents.
func (n *Inode) mapIndirect(b FileBlock) (Run, error) {
	if b < directPointers {
		return n.pointerRun(n.Block[:directPointers*pointerSize], int(b), 1, 0)
	}
	per := uint64(n.fs.super.BlockSize) / pointerSize
	rest := uint64(b) - directPointers
	span := uint64(1) // file blocks below one pointer of the level
	for level := range 3 {
		if rest < span*per {
			return n.mapIndirectLevel(directPointers+level, rest, span)
		}
		rest -= span * per
		span *= per
	}
	return Run{}, ondisk.Corruptf(n.where(), "file block %d is past what indirect blocks can map", b)
}

// mapIndirectLevel walks down from pointer slot of the inode. rest counts file blocks from the first one below it; each
// pointer of the topmost indirect block stands for span of them.
func (n *Inode) mapIndirectLevel(slot int, rest, span uint64) (Run, error) {
	per := uint64(n.fs.super.BlockSize) / pointerSize
	at := block.Number(binary.LittleEndian.Uint32(n.Block[slot*pointerSize:]))
	for {
		if at == 0 {
			return Run{Kind: Hole, Len: span*per - rest}, nil
		}
		if !n.fs.super.Contains(at, 1) {
			return Run{}, n.badPointer(at)
		}
		p, err := n.fs.block(at)
		if err != nil {
			return Run{}, fmt.Errorf("inode %d, indirect block: %w", n.Ino, err)
		}
		if err := n.fs.view.depend(at, p); err != nil {
			return Run{}, err
		}
		if span == 1 {
			return n.pointerRun(p, int(rest), 1, 0)
		}
		i := rest / span
		at = block.Number(binary.LittleEndian.Uint32(p[i*pointerSize:]))
		if at == 0 {
			return n.pointerRun(p, int(i), span, rest%span)
		}
		rest %= span
		span /= per
	}
}

// pointerRun is the run that begins at pointer i of p: neighbours that are all holes, or that follow one another. Each
// pointer stands for span file blocks, of which skip are before the one asked for.
func (n *Inode) pointerRun(p []byte, i int, span, skip uint64) (Run, error) {
	get := func(i int) block.Number { return block.Number(binary.LittleEndian.Uint32(p[i*pointerSize:])) }
	first, count := get(i), uint64(1)
	for j := i + 1; j < len(p)/pointerSize; j++ {
		next := get(j)
		if first == 0 && next != 0 || first != 0 && next != first+block.Number(count) {
			break
		}
		count++
	}
	if first == 0 {
		return Run{Kind: Hole, Len: count*span - skip}, nil
	}
	if !n.fs.super.Contains(first, count) {
		return Run{}, n.badPointer(first)
	}
	return Run{Kind: Data, Start: first, Len: count}, nil
}

func (n *Inode) badPointer(at block.Number) error {
	return ondisk.Corruptf(
		n.where(),
		"block pointer %d is past the image's %d blocks",
		uint64(at),
		uint64(n.fs.super.Blocks),
	)
}
