package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/ondisk"
)

// Htree depth limits: index levels below the root (ext4 doc, "Hash Tree Directories").
const (
	maxHtreeLevels         = 1 // root and one level of nodes
	maxHtreeLevelsLargedir = 2
	htreeEntrySize         = 8
	htreeRootEntries       = 0x20 // where the entries of the root begin
	htreeNodeEntries       = 0x8  // where those of an inner node begin, behind an empty directory entry
	htreeTailSize          = 8
)

// HtreeNode is an index block of a hashed directory (ext4 doc, "Hash Tree Directories"): an array of hash and file
// block, the first of which has, in place of its hash, the capacity and the count:
//
//	root: "." and ".." entries, 0x18 zero, 0x1c hash version, 0x1d info length (8), 0x1e levels, 0x20 entries
//	node: one empty entry of 8 bytes that spans the block, 0x8 entries
//	both: behind the last possible entry, with metadata_csum, a reserved word and a CRC32C
type HtreeNode struct {
	p     []byte // from the first entry on
	count int

	HashVersion uint8 // root only
	Levels      int   // root only: levels of inner nodes below it
}

// DecodeHtreeRoot decodes block 0 of a hashed directory.
func (s *Superblock) DecodeHtreeRoot(seed Seed, p []byte) (HtreeNode, error) {
	if len(p) < htreeRootEntries+htreeEntrySize {
		return HtreeNode{}, ondisk.Corruptf("hash tree", "root of %d bytes", len(p))
	}
	if p[0x1d] != 8 {
		return HtreeNode{}, ondisk.Corruptf("hash tree", "root's information is %d bytes long, expected 8", p[0x1d])
	}
	n, err := s.decodeHtree(seed, p, htreeRootEntries)
	if err != nil {
		return n, err
	}
	n.HashVersion, n.Levels = p[0x1c], int(p[0x1e])
	if limit := s.MaxHtreeLevels(); n.Levels > limit {
		return n, ondisk.Corruptf("hash tree", "it has %d levels, at most %d", n.Levels, limit)
	}
	if n.HashVersion > HashSiphash || n.HashVersion > HashTea && n.HashVersion != HashSiphash {
		return n, ondisk.Corruptf("hash tree", "hash version is %d", n.HashVersion)
	}
	return n, nil
}

// MaxHtreeLevels is how many levels of inner nodes a hash tree may have below its root.
func (s *Superblock) MaxHtreeLevels() int {
	if s.Incompat&IncompatLargedir != 0 {
		return maxHtreeLevelsLargedir
	}
	return maxHtreeLevels
}

// DecodeHtreeNode decodes an inner node of a hashed directory.
func (s *Superblock) DecodeHtreeNode(seed Seed, p []byte) (HtreeNode, error) {
	return s.decodeHtree(seed, p, htreeNodeEntries)
}

func (s *Superblock) decodeHtree(seed Seed, p []byte, at int) (HtreeNode, error) {
	le := binary.LittleEndian
	q := p[at:]
	limit, count := int(le.Uint16(q)), int(le.Uint16(q[2:]))
	room := len(q) / htreeEntrySize
	if s.HasMetadataCsum() {
		room = (len(q) - htreeTailSize) / htreeEntrySize
	}
	if limit != room || count == 0 || count > limit {
		return HtreeNode{}, ondisk.Corruptf(
			"hash tree",
			"node has %d entries and room for %d, expected room for %d",
			count,
			limit,
			room,
		)
	}
	if s.verifies() {
		tail := q[limit*htreeEntrySize:]
		sum := CRC32C(uint32(seed), p[:at+count*htreeEntrySize])
		sum = CRC32C(sum, tail[:4])
		sum = CRC32C(sum, []byte{0, 0, 0, 0})
		if stored := le.Uint32(tail[4:]); stored != sum {
			return HtreeNode{}, ondisk.Checksum("hash tree", stored, sum)
		}
	}
	return HtreeNode{p: q, count: count}, nil
}

// Count is the number of entries. Entry 0 covers all hashes below that of entry 1.
func (n HtreeNode) Count() int { return n.count }

// Hash is the lowest hash of entry i. Its lowest bit says that names with the same hash (but for this bit) began in
// the entry before.
func (n HtreeNode) Hash(i int) uint32 {
	if i == 0 {
		return 0
	}
	return binary.LittleEndian.Uint32(n.p[i*htreeEntrySize:])
}

// Child is the file block that entry i points at.
func (n HtreeNode) Child(i int) FileBlock {
	return FileBlock(binary.LittleEndian.Uint32(n.p[i*htreeEntrySize+4:]) & 0x0fffffff)
}

// Search returns the entry that covers hash.
func (n HtreeNode) Search(hash uint32) int {
	lo, hi := 1, n.count
	for lo < hi {
		mid := (lo + hi) / 2
		if n.Hash(mid) > hash {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}
