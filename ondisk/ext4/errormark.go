package ext4

import "encoding/binary"

// ErrorMark is the superblock's record of the first or the last damage that was found (ext4 doc, "Super Block",
// s_first_error_*).
type ErrorMark struct {
	Time     int64  // seconds
	Function string // what found it: up to 32 bytes
}

const codeCorrupted = 5 // EXT4_ERR_EFSCORRUPTED

// PutErrors notes in the bytes of a superblock that damage was found so many more times: when first, if none is noted
// yet, and when last. The state says that e2fsck has to look.
func (s *Superblock) PutErrors(p []byte, count uint32, first, last ErrorMark) {
	le := binary.LittleEndian
	PutErrorState(p)
	if le.Uint32(p[0x198:]) == 0 && p[0x278] == 0 {
		putMark(p, 0x198, 0x19c, 0x1a0, 0x1c8, 0x1a8, 0x278, 0x27a, first)
	}
	putMark(p, 0x1cc, 0x1d0, 0x1d8, 0x1d4, 0x1e0, 0x279, 0x27b, last)
	if before := le.Uint32(p[0x194:]); before+count >= before {
		le.PutUint32(p[0x194:], before+count)
	}
}

// PutErrorState says in the bytes of a superblock that e2fsck has to look.
func PutErrorState(p []byte) {
	binary.LittleEndian.PutUint16(p[0x3a:], binary.LittleEndian.Uint16(p[0x3a:])|StateErrors)
}

// putMark writes a mark; which inode, block and line it was is not known.
func putMark(p []byte, when, ino, block, line, function, high, code int, m ErrorMark) {
	putSuperTime(p, when, high, m.Time)
	clear(p[ino:][:4])
	clear(p[block:][:8])
	clear(p[line:][:4])
	clear(p[function:][:32])
	copy(p[function:][:32], m.Function)
	p[code] = codeCorrupted
}
