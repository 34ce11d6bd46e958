package ext4

import "encoding/binary"

// A file system without a journal may have its log in a file beside the image. While that log may hold newer blocks,
// the superblock has a mark: magic, the log's identity and a sum of the fields that every mount and every check change.
// It lies at the end of the path that the file system was last mounted on, behind a zero. That path is informational,
// in the superblock's first sector, and e2fsck and the kernel leave it alone, or put a whole path over it.
const (
	offLogMark = 0xa8
	endLogMark = offLogMark + 24
	logMagic   = "vwal"
)

// LogID identifies a log beside an image, and one mount of it: the UUID of its file.
type LogID [16]byte

// PutLogMark marks the bytes of a superblock: the log with this identity may hold newer blocks. The mount's own fields
// must be there already.
func PutLogMark(p []byte, id LogID) {
	p[offLogMark-1] = 0
	copy(p[offLogMark:], logMagic)
	copy(p[offLogMark+4:], id[:])
	binary.LittleEndian.PutUint32(p[offLogMark+20:], logSum(p))
}

// ClearLogMark takes the mark away.
func ClearLogMark(p []byte) { clear(p[offLogMark:endLogMark]) }

// logSum binds a mark to the file system, to this mount of it and to its last check: what another program mounted, or
// e2fsck repaired, needs the log no more.
func logSum(p []byte) uint32 {
	sum := CRC32C(^uint32(0), p[offLogMark:offLogMark+20])
	for _, f := range []struct{ off, n int }{{0x68, 16}, {0x2c, 4}, {0x275, 1}, {0x34, 2}, {0x40, 4}, {0x277, 1}} {
		sum = CRC32C(sum, p[f.off:f.off+f.n])
	}
	return sum
}

// decodeLogMark reads the mark. It counts only where the superblock does not say that it is clean.
func (s *Superblock) decodeLogMark(p []byte) {
	marked := string(p[offLogMark:offLogMark+4]) == logMagic && binary.LittleEndian.Uint32(p[offLogMark+20:]) == logSum(p)
	if marked && s.State&StateClean == 0 && s.Compat&CompatHasJournal == 0 {
		s.NeedsLog = true
		copy(s.Log[:], p[offLogMark+4:])
	}
}
