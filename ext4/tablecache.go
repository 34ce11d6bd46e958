package ext4

import (
	"sync/atomic"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// tableCache remembers where each group's inode table begins, in pieces that are made when a group of them is asked
// for.
type tableCache struct {
	pieces []atomic.Pointer[tablePiece]
}

const tablesInPiece = 1024

// tablePiece has 0 for what was not asked for yet.
type tablePiece [tablesInPiece]atomic.Uint64

func newTableCache(groups disk.Group) *tableCache {
	return &tableCache{make([]atomic.Pointer[tablePiece], (uint64(groups)+tablesInPiece-1)/tablesInPiece)}
}

// of is where the place of a group's table is kept.
func (c *tableCache) of(g disk.Group) *atomic.Uint64 {
	piece := &c.pieces[g/tablesInPiece]
	p := piece.Load()
	if p == nil {
		piece.CompareAndSwap(nil, new(tablePiece))
		p = piece.Load()
	}
	return &p[g%tablesInPiece]
}
