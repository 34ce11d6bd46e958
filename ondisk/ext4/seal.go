package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
)

// Sealing writes the checksums that the Check and Decode functions verify, in place. Each does nothing where the file
// system has none.

// offSpare are four bytes of the superblock that no program reads: the last of the path that it was mounted on, behind
// the zero that ends that.
const offSpare = 0xc4

// SealSuperblock seals the 1,024 bytes of a superblock, of which only the first 512 may have been changed. It keeps the
// checksum, which lies in the second half, and makes the first one fit it by four spare bytes: so a superblock that is
// torn between its two sectors, on its way to its place, is the old one or the new one, and the journal can always be
// found.
func (s *Superblock) SealSuperblock(p []byte) {
	if !s.HasMetadataCsum() {
		return
	}
	le := binary.LittleEndian
	p[offSpare-1] = 0
	le.PutUint32(p[offSpare:], 0)
	sum := func() uint32 { return CRC32C(^uint32(0), p[:0x3fc]) }
	base := sum()
	// A checksum is linear in each bit: solve for the 32 bits.
	// for each bit of the checksum that it is the pivot of: effect, and above it the spare bits that have it
	var rows [32]uint64
	for i := range 32 {
		le.PutUint32(p[offSpare:], 1<<i)
		row := uint64(sum()^base) | 1<<(32+i)
		for bit := range 32 {
			if row>>bit&1 == 0 {
				continue
			}
			if rows[bit] == 0 {
				rows[bit] = row
				break
			}
			row ^= rows[bit]
		}
	}
	want := uint64(le.Uint32(p[0x3fc:]) ^ base)
	for bit := range 32 {
		if want>>bit&1 == 1 {
			want ^= rows[bit]
		}
	}
	le.PutUint32(p[offSpare:], uint32(want>>32))
}

// SealGroupDesc seals the descriptor of group g.
func (s *Superblock) SealGroupDesc(g Group, p []byte) {
	if s.HasGroupCsum() {
		p = p[:s.DescSize]
		binary.LittleEndian.PutUint16(p[0x1e:], s.groupChecksum(g, p))
	}
}

// GroupCounts are the fields of a group descriptor that derive from the group's bitmaps.
type GroupCounts struct {
	FreeBlocks, FreeInodes, ITableUnused uint32
	BlockBitmapSum, InodeBitmapSum       uint32
}

// PutGroupCounts writes derived fields into the bytes of a group descriptor.
func (s *Superblock) PutGroupCounts(p []byte, c GroupCounts) {
	le := binary.LittleEndian
	wide := s.Incompat&Incompat64Bit != 0 && s.DescSize >= 64
	put := func(lo, hi int, v uint32) {
		le.PutUint16(p[lo:], uint16(v))
		if wide {
			le.PutUint16(p[hi:], uint16(v>>16))
		}
	}
	put(0xc, 0x2c, c.FreeBlocks)
	put(0xe, 0x2e, c.FreeInodes)
	if s.HasGroupCsum() {
		put(0x1c, 0x32, c.ITableUnused)
	}
	if s.HasMetadataCsum() {
		put(0x18, 0x38, c.BlockBitmapSum)
		put(0x1a, 0x3a, c.InodeBitmapSum)
	}
}

// BlockBitmapSum and InodeBitmapSum are the checksums of a group's bitmaps, which its descriptor holds; 0 without
// metadata_csum.
func (s *Superblock) BlockBitmapSum(p []byte) uint32 { return s.bitmapSum(p[:s.ClustersPerGroup/8]) }

// InodeBitmapSum is BlockBitmapSum for inodes.
func (s *Superblock) InodeBitmapSum(p []byte) uint32 {
	return s.bitmapSum(p[:(s.InodesPerGroup+7)/8])
}

func (s *Superblock) bitmapSum(p []byte) uint32 {
	if !s.HasMetadataCsum() {
		return 0
	}
	sum := CRC32C(uint32(s.seed), p)
	if s.DescSize < 64 || s.Incompat&Incompat64Bit == 0 {
		sum &= 0xffff
	}
	return sum
}

// PutSuperCounts writes the free counts of the whole file system, and the head of the list of orphans.
func (s *Superblock) PutSuperCounts(p []byte, freeBlocks uint64, freeInodes uint32, lastOrphan Ino) {
	le := binary.LittleEndian
	le.PutUint32(p[0xc:], uint32(freeBlocks))
	if s.Incompat&Incompat64Bit != 0 {
		le.PutUint32(p[0x158:], uint32(freeBlocks>>32))
	}
	le.PutUint32(p[0x10:], freeInodes)
	le.PutUint32(p[0xe8:], uint32(lastOrphan))
}

// PutRecovery sets or clears what says that the journal must be replayed, and that the orphan file, where there is one,
// is in use.
func (s *Superblock) PutRecovery(p []byte, needed, orphans bool) {
	le := binary.LittleEndian
	incompat, ro := le.Uint32(p[0x60:]), le.Uint32(p[0x64:])
	incompat &^= uint32(IncompatRecover)
	ro &^= uint32(ROCompatOrphanPresent)
	if needed {
		incompat |= uint32(IncompatRecover)
	}
	if orphans && s.Compat&CompatOrphanFile != 0 {
		ro |= uint32(ROCompatOrphanPresent)
	}
	le.PutUint32(p[0x60:], incompat)
	le.PutUint32(p[0x64:], ro)
}

// PutClean says in the bytes of a superblock whether it was unmounted cleanly.
func PutClean(p []byte, clean bool) {
	state := binary.LittleEndian.Uint16(p[0x3a:]) &^ StateClean
	if clean {
		state |= StateClean
	}
	binary.LittleEndian.PutUint16(p[0x3a:], state)
}

// LabelSize is how many bytes the name of a file system has at most.
const LabelSize = 16

const offLabel = 0x78

// LabelOf is the name of the file system in the bytes of a superblock.
func LabelOf(p []byte) string { return cString(p[offLabel : offLabel+LabelSize]) }

// PutLabel names the file system in the bytes of a superblock.
func PutLabel(p []byte, label string) {
	clear(p[offLabel : offLabel+LabelSize])
	copy(p[offLabel:offLabel+LabelSize], label)
}

// PutMounted notes a mount at a time in seconds: when, and one more of them.
func (s *Superblock) PutMounted(p []byte, now int64) {
	le := binary.LittleEndian
	putSuperTime(p, 0x2c, 0x275, now)
	putSuperTime(p, 0x30, 0x274, now)
	le.PutUint16(p[0x34:], le.Uint16(p[0x34:])+1)
}

// PutWritten notes the time of the last write, in seconds.
func (s *Superblock) PutWritten(p []byte, now int64) { putSuperTime(p, 0x30, 0x274, now) }

func putSuperTime(p []byte, lo, hi int, sec int64) {
	binary.LittleEndian.PutUint32(p[lo:], uint32(sec))
	p[hi] = byte(sec >> 32)
}

// SealExtentBlock seals a node of an extent tree.
func (s *Superblock) SealExtentBlock(seed Seed, p []byte) {
	end := extentEntrySize * (1 + int(binary.LittleEndian.Uint16(p[4:])))
	if s.HasMetadataCsum() && end+4 <= len(p) {
		binary.LittleEndian.PutUint32(p[end:], CRC32C(uint32(seed), p[:end]))
	}
}

// SealDirBlock seals a block of directory entries.
func (s *Superblock) SealDirBlock(seed Seed, p []byte) {
	if s.HasMetadataCsum() {
		end := len(p) - direntTailSize
		putDirTail(p[end:])
		binary.LittleEndian.PutUint32(p[end+8:], CRC32C(uint32(seed), p[:end]))
	}
}

func putDirTail(t []byte) {
	clear(t)
	binary.LittleEndian.PutUint16(t[4:], direntTailSize)
	t[7] = fileTypeTail
}

// SealHtree seals an index block of a hashed directory: its root, or a node below.
func (s *Superblock) SealHtree(seed Seed, p []byte, root bool) {
	if !s.HasMetadataCsum() {
		return
	}
	at := htreeNodeEntries
	if root {
		at = htreeRootEntries
	}
	le := binary.LittleEndian
	limit, count := int(le.Uint16(p[at:])), int(le.Uint16(p[at+2:]))
	tail := at + limit*htreeEntrySize
	if tail+htreeTailSize > len(p) || count > limit {
		return
	}
	sum := CRC32C(uint32(seed), p[:at+count*htreeEntrySize])
	sum = CRC32C(sum, p[tail:tail+4])
	le.PutUint32(p[tail+4:], CRC32C(sum, []byte{0, 0, 0, 0}))
}

// SealXattrBlock seals the block of attributes at number n.
func (s *Superblock) SealXattrBlock(n block.Number, p []byte) {
	if !s.HasMetadataCsum() {
		return
	}
	le := binary.LittleEndian
	var nr [8]byte
	le.PutUint64(nr[:], uint64(n))
	le.PutUint32(p[xattrBlockCsumOffset:], 0)
	le.PutUint32(p[xattrBlockCsumOffset:], CRC32C(CRC32C(uint32(s.seed), nr[:]), p))
}

// PutOrphans writes a block of the orphan file, which is at number nr, and seals it. ino and generation are the file's
// own. It returns how many of the orphans had room.
func (s *Superblock) PutOrphans(ino Ino, generation uint32, nr block.Number, p []byte, orphans []Ino) int {
	le := binary.LittleEndian
	end := len(p) - 8
	clear(p[:end])
	n := min(len(orphans), end/4)
	for i, o := range orphans[:n] {
		le.PutUint32(p[4*i:], uint32(o))
	}
	le.PutUint32(p[end:], orphanBlockMagic)
	if s.HasMetadataCsum() {
		var b [8]byte
		le.PutUint64(b[:], uint64(nr))
		le.PutUint32(p[end+4:], CRC32C(CRC32C(uint32(s.seed.Inode(ino, generation)), b[:]), p[:end]))
	}
	return n
}

// Unsealed is the superblock for blocks whose sealed fields are not valid: nothing that is decoded with it verifies a
// checksum.
func (s *Superblock) Unsealed() *Superblock {
	u := *s
	u.unsealed = true
	return &u
}

// verifies reports whether checksums of metadata are to be checked.
func (s *Superblock) verifies() bool { return s.HasMetadataCsum() && !s.unsealed }
