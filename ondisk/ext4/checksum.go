package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues a CRC32C over p the way the kernel does: without the inversions before and after that hash/crc32
// makes (ext4 doc, "Checksums").
func CRC32C(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli, p)
}

func crc32cLE32(seed, v uint32) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return CRC32C(seed, b[:])
}

// Seed is the start value of a file system's metadata checksums.
type Seed uint32

// Inode derives the start value for the structures that belong to one inode: the inode itself, its extent blocks and
// its directory blocks.
func (s Seed) Inode(ino Ino, generation uint32) Seed {
	return Seed(crc32cLE32(crc32cLE32(uint32(s), uint32(ino)), generation))
}

var crc16Table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xa001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// crc16 continues the CRC-16 (polynomial 0x8005, reflected) that uninit_bg uses for group descriptors.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc = crc>>8 ^ crc16Table[byte(crc)^b]
	}
	return crc
}
