package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// MaxExtentDepth is the deepest extent tree that the format allows (ext4 doc, "Extent Tree").
const MaxExtentDepth = 5

const (
	extentMagic     = 0xf30a
	extentEntrySize = 12
	maxInitLen      = 32768 // an extent longer than this is unwritten, and longer by this than it says
)

// Extent maps Len blocks of a file to blocks of the image.
type Extent struct {
	File      FileBlock
	Len       uint32 // blocks
	Start     block.Number
	Unwritten bool // allocated, and read as zeros
}

// ExtentIndex points at the node that maps the file from File on.
type ExtentIndex struct {
	File FileBlock
	Leaf block.Number
}

// ExtentNode is one node of an extent tree (ext4 doc, "Extent Tree"):
//
//	0x0 magic 0xF30A  0x2 entries  0x4 capacity  0x6 depth  0x8 generation
//	0xc entries of 12 bytes each; then, in a block of its own, a CRC32C
//
// It is a view of the bytes: entries are decoded when they are asked for, so that a search touches few of them.
type ExtentNode struct {
	p       []byte
	entries int
	depth   int
}

// DecodeExtentRoot decodes the tree root in an inode's Block.
func DecodeExtentRoot(p []byte) (ExtentNode, error) {
	return decodeExtentNode(p)
}

const extentWhere = "extent tree"

// DecodeExtentBlock decodes a node in a block of its own, checks its checksum, and that its depth is the expected one:
// depths fall by one on each level, so a tree with a loop in it ends in an error.
func (s *Superblock) DecodeExtentBlock(seed Seed, depth int, p []byte) (ExtentNode, error) {
	n, err := decodeExtentNode(p)
	if err != nil {
		return n, err
	}
	if n.depth != depth {
		return n, ondisk.Corruptf(extentWhere, "extent node has depth %d, expected %d", n.depth, depth)
	}
	if s.verifies() {
		end := extentEntrySize * (1 + int(binary.LittleEndian.Uint16(p[4:])))
		if end+4 > len(p) {
			return n, ondisk.Corruptf(extentWhere, "extent node has no room for its checksum")
		}
		stored := binary.LittleEndian.Uint32(p[end:])
		if sum := CRC32C(uint32(seed), p[:end]); sum != stored {
			return n, ondisk.Checksum(extentWhere, stored, sum)
		}
	}
	return n, nil
}

func decodeExtentNode(p []byte) (ExtentNode, error) {
	le := binary.LittleEndian
	if len(p) < extentEntrySize {
		return ExtentNode{}, ondisk.Corruptf(extentWhere, "extent node of %d bytes", len(p))
	}
	if m := le.Uint16(p); m != extentMagic {
		return ExtentNode{}, ondisk.Corruptf(extentWhere, "extent magic is 0x%04x, expected 0x%04x", m, extentMagic)
	}
	entries, capacity, depth := int(le.Uint16(p[2:])), int(le.Uint16(p[4:])), int(le.Uint16(p[6:]))
	switch {
	case capacity == 0 || extentEntrySize*(1+capacity) > len(p):
		return ExtentNode{}, ondisk.Corruptf(
			extentWhere,
			"extent node has room for %d entries in %d bytes",
			capacity,
			len(p),
		)
	case entries > capacity:
		return ExtentNode{}, ondisk.Corruptf(extentWhere, "extent node has %d entries, room for %d", entries, capacity)
	case depth > MaxExtentDepth:
		return ExtentNode{}, ondisk.Corruptf(extentWhere, "extent tree of depth %d, at most %d", depth, MaxExtentDepth)
	case entries == 0 && depth > 0:
		return ExtentNode{}, ondisk.Corruptf(extentWhere, "extent index without entries")
	}
	return ExtentNode{p: p, entries: entries, depth: depth}, nil
}

// EmptyExtentRoot is the root of a tree that maps nothing, as it lies in an inode.
func EmptyExtentRoot() []byte {
	p := make([]byte, 60)
	binary.LittleEndian.PutUint16(p, extentMagic)
	binary.LittleEndian.PutUint16(p[4:], uint16(len(p)/extentEntrySize-1))
	return p
}

// Depth is 0 for a leaf and grows towards the root. Entries is the number of entries.
func (n ExtentNode) Depth() int   { return n.depth }
func (n ExtentNode) Entries() int { return n.entries }

func (n ExtentNode) entry(i int) []byte {
	at := extentEntrySize * (1 + i)
	return n.p[at : at+extentEntrySize]
}

// fileBlock is the first file block that entry i covers; leaf and index entries both begin with it.
func (n ExtentNode) fileBlock(i int) FileBlock {
	return FileBlock(binary.LittleEndian.Uint32(n.entry(i)))
}

// Extent decodes entry i of a leaf.
func (n ExtentNode) Extent(i int) Extent { return DecodeExtent(n.entry(i)) }

// DecodeExtent decodes the 12 bytes of a leaf's entry.
func DecodeExtent(p []byte) Extent {
	le := binary.LittleEndian
	e := Extent{
		File:  FileBlock(le.Uint32(p)),
		Len:   uint32(le.Uint16(p[4:])),
		Start: block.Number(le.Uint16(p[6:]))<<32 | block.Number(le.Uint32(p[8:])),
	}
	if e.Len > maxInitLen {
		e.Len -= maxInitLen
		e.Unwritten = true
	}
	return e
}

// Index decodes entry i of an inner node.
func (n ExtentNode) Index(i int) ExtentIndex {
	p := n.entry(i)
	le := binary.LittleEndian
	return ExtentIndex{
		File: FileBlock(le.Uint32(p)),
		Leaf: block.Number(le.Uint16(p[8:]))<<32 | block.Number(le.Uint32(p[4:])),
	}
}

// Search returns the last entry that begins at or before b, or -1 where all begin later.
func (n ExtentNode) Search(b FileBlock) int {
	lo, hi := 0, n.entries
	for lo < hi {
		mid := (lo + hi) / 2
		if n.fileBlock(mid) <= b {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// First returns the file block that entry i begins with.
func (n ExtentNode) First(i int) FileBlock { return n.fileBlock(i) }

// CheckExtent checks that an extent is not empty, does not wrap past the last file block, and lies on the image.
func (s *Superblock) CheckExtent(e Extent) error {
	switch {
	case e.Len == 0:
		return ondisk.Corruptf(extentWhere, "extent at file block %d is empty", e.File)
	case uint64(e.File)+uint64(e.Len) > 1<<32:
		return ondisk.Corruptf(extentWhere, "extent at file block %d has %d blocks", e.File, e.Len)
	case !s.Contains(e.Start, uint64(e.Len)):
		return ondisk.Corruptf(extentWhere, "extent at file block %d maps blocks %d to %d, past the image's %d",
			e.File, uint64(e.Start), uint64(e.Start)+uint64(e.Len)-1, uint64(s.Blocks))
	}
	return nil
}
