package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

const orphanBlockMagic = 0x0b10ca04

// DecodeOrphanBlock decodes one block of the orphan file (ext4 doc, "Orphan file"): an array of inode numbers, of
// which zeros are free slots, and at the end a magic and a CRC32C. ino and generation are the orphan file's own, nr is
// the block's number on the image.
func (s *Superblock) DecodeOrphanBlock(ino Ino, generation uint32, nr block.Number, p []byte) ([]Ino, error) {
	where := fmt.Sprintf("orphan file, block %d", uint64(nr))
	le := binary.LittleEndian
	if len(p) < 16 {
		return nil, ondisk.Corruptf(where, "only %d bytes long", len(p))
	}
	tail := p[len(p)-8:]
	if m := le.Uint32(tail); m != orphanBlockMagic {
		return nil, ondisk.Corruptf(where, "magic is 0x%08x, expected 0x%08x", m, orphanBlockMagic)
	}
	entries := p[:len(p)-8]
	if s.verifies() {
		var b [8]byte
		le.PutUint64(b[:], uint64(nr))
		sum := CRC32C(uint32(s.seed.Inode(ino, generation)), b[:])
		sum = CRC32C(sum, entries)
		if stored := le.Uint32(tail[4:]); stored != sum {
			return nil, ondisk.Checksum(where, stored, sum)
		}
	}
	var out []Ino
	for ; len(entries) >= 4; entries = entries[4:] {
		if n := Ino(le.Uint32(entries)); n != 0 {
			out = append(out, n)
		}
	}
	return out, nil
}
