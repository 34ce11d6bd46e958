// Package jbd2 decodes and encodes the blocks of ext4's journal: bytes in, checked values out, and the other way round.
//
// A log is a ring of blocks. A transaction in it is descriptor blocks, each followed by the blocks that its tags name,
// revoke blocks, and one commit block:
//
//	| superblock | ... | descriptor | data | data | revoke | commit | descriptor | data | commit | ... | fast commits |
//	  block 0      first ->                                                            <- wraps to first
//
// The journal is big-endian, but for the fast-commit area, which is little-endian. The source is the kernel's
// description, Documentation/filesystems/ext4, "Journal (jbd2)", cited as "ext4 doc, Journal".
package jbd2

// Sequence is the number of a transaction. It wraps; compare with Before.
type Sequence uint32

// Before reports whether s comes before t, where the numbers may have wrapped in between.
func (s Sequence) Before(t Sequence) bool { return int32(s-t) < 0 }
