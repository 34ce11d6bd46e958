package ext4

import (
	"maps"
	"slices"
)

// A check keeps its notes in pieces, which are made when something is noted in them: an image may claim more blocks and
// inodes than there is memory for.
const (
	blockPiece = 1 << 15 // clusters
	inodePiece = 512
)

// blockSet is a set of clusters.
type blockSet struct {
	pieces map[uint64]*[blockPiece / 64]uint64
	number uint64                   // of the piece that was used last
	last   *[blockPiece / 64]uint64 // nil where there is none yet
}

// piece is where a cluster's bit lies, or nil.
func (s *blockSet) piece(b uint64) *[blockPiece / 64]uint64 {
	if n := b / blockPiece; s.last == nil || n != s.number {
		s.number, s.last = n, s.pieces[n]
	}
	return s.last
}

func (s *blockSet) has(b uint64) bool {
	p := s.piece(b)
	return p != nil && p[b%blockPiece/64]>>(b%64)&1 == 1
}

func (s *blockSet) add(b uint64) {
	p := s.piece(b)
	if p == nil {
		p = new([blockPiece / 64]uint64)
		s.pieces[b/blockPiece], s.last = p, p
	}
	p[b%blockPiece/64] |= 1 << (b % 64)
}

// inodeStates is the checker's knowledge of each inode.
type inodeStates map[Ino]*[inodePiece]inodeState

// of returns the state of an inode, which must not be changed.
func (s inodeStates) of(ino Ino) inodeState {
	if p := s[ino/inodePiece]; p != nil {
		return p[ino%inodePiece]
	}
	return inodeState{}
}

// at is where to note something of an inode.
func (s inodeStates) at(ino Ino) *inodeState {
	p := s[ino/inodePiece]
	if p == nil {
		p = new([inodePiece]inodeState)
		s[ino/inodePiece] = p
	}
	return &p[ino%inodePiece]
}

// each calls do for each inode of which something may be known, in order.
func (s inodeStates) each(do func(Ino, *inodeState)) {
	for _, n := range slices.Sorted(maps.Keys(s)) {
		for i := range s[n] {
			do(n*inodePiece+Ino(i), &s[n][i])
		}
	}
}
