// Package block holds the few types that every layer shares: the number of a block and its size.
package block

import "fmt"

// Number is the number of a block on the image, counted in units of the image's block size from the start of the
// image.
type Number uint64

// Size is the size of a block in bytes: a power of two from 1 KiB to 64 KiB.
type Size uint32

// The bounds of Size, as the ext4 format has them.
const (
	MinSize Size = 1 << 10
	MaxSize Size = 64 << 10
)

// Valid reports whether s is a power of two between MinSize and MaxSize.
func (s Size) Valid() bool { return s >= MinSize && s <= MaxSize && s&(s-1) == 0 }

// Offset is the byte offset of block n. The caller has checked n against the image's block count.
func (s Size) Offset(n Number) int64 { return int64(n) * int64(s) }

// String prints the number as the tools of e2fsprogs do.
func (n Number) String() string { return fmt.Sprintf("block %d", uint64(n)) }

// Seq is a commit sequence: its place in the total order of a store's commits. The first commit has 1.
type Seq uint64

// Epoch counts groups of commits that become durable together. The first epoch has 1.
type Epoch uint64
