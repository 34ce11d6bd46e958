// Package ext4 decodes and encodes the on-disk structures of ext2, ext3 and ext4: bytes in, checked values out, and the
// other way round.
//
// DecodeSuperblock comes first: a Superblock has the geometry that finds all other structures, and decodes them. Encode
// and Put functions change bytes in place; Seal functions then compute the checksums that the decoders verify.
//
// The package does no I/O and keeps no state. Each file holds one structure, with its layout drawn above the decoder.
// All integers are little-endian. Decoders check what they can see from the bytes alone (magic, version, bounds,
// checksums) and cap each length before they use it; what depends on other blocks is for the caller to check.
//
// The source is the kernel's own description, Documentation/filesystems/ext4 (in Debian's linux-doc package), cited as
// "ext4 doc" with the section's title.
package ext4

// Ino is the number of an inode. Inode numbers start at 1; 0 means "none".
type Ino uint32

// The inodes that the format reserves (ext4 doc, "Special inodes").
const (
	BadBlocksIno Ino = 1
	RootIno      Ino = 2
	UserQuotaIno Ino = 3
	GrpQuotaIno  Ino = 4
	BootIno      Ino = 5
	UndelDirIno  Ino = 6
	ResizeIno    Ino = 7
	JournalIno   Ino = 8
)

// Group is the number of a block group.
type Group uint32

// FileBlock is the number of a block within a file, counted in blocks from the file's start.
type FileBlock uint32
