package jbd2

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

const revokeHeader = 16

// DecodeRevoke decodes the blocks that a revoke block names, and checks its checksum: copies of them in this
// transaction and in older ones are not to be replayed (ext4 doc, Journal, "Revocation Block").
func (s *Superblock) DecodeRevoke(seq Sequence, p []byte) ([]block.Number, error) {
	where := fmt.Sprintf("journal transaction %d, revocation", seq)
	if err := s.tailSum(where, p); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	end, room := int(be.Uint32(p[headerSize:])), len(p)
	if s.HasChecksums() {
		room -= 4
	}
	if end < revokeHeader || end > room {
		return nil, ondisk.Corruptf(where, "has %d bytes of %d", end, room)
	}
	size := 4
	if s.Incompat&Incompat64Bit != 0 {
		size = 8
	}
	out := make([]block.Number, 0, (end-revokeHeader)/size)
	for at := revokeHeader; at+size <= end; at += size {
		if size == 8 {
			out = append(out, block.Number(be.Uint64(p[at:])))
		} else {
			out = append(out, block.Number(be.Uint32(p[at:])))
		}
	}
	return out, nil
}
