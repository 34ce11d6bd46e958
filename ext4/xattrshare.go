package ext4

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// sharedXattrs remembers blocks of attributes by their contents, so that inodes with the same attributes refer to one
// block, as the kernel's mbcache does. It is a hint: the transaction that adds a reference checks whether the
// block still has those contents, and is one at all. A block is forgotten before its freeing can be seen.
type sharedXattrs struct {
	seed maphash.Seed

	mu     sync.Mutex // guards the rest
	blocks map[uint64]block.Number
	sums   map[block.Number]uint64
}

const (
	maxShared    = 4096 // blocks that are remembered
	maxXattrRefs = 1024 // inodes of one block (kernel, EXT4_XATTR_REFCOUNT_MAX)
	xattrHeader  = 32   // bytes: references, hash and checksum are in it
)

func newSharedXattrs() sharedXattrs {
	return sharedXattrs{seed: maphash.MakeSeed(), blocks: map[uint64]block.Number{}, sums: map[block.Number]uint64{}}
}

// sum stands for the contents of a block.
func (s *sharedXattrs) sum(p []byte) uint64 { return maphash.Bytes(s.seed, p[xattrHeader:]) }

// record keeps the sum of a block's attributes.
func (s *sharedXattrs) record(n block.Number, sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(n)
	if len(s.blocks) >= maxShared {
		for _, other := range s.blocks { // any of them
			s.drop(other)
			break
		}
	}
	if old, ok := s.blocks[sum]; ok {
		delete(s.sums, old) // it is full, or the older of two
	}
	s.blocks[sum], s.sums[n] = n, sum
}

func (s *sharedXattrs) forget(n block.Number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(n)
}

// drop forgets a block. The caller holds mu.
func (s *sharedXattrs) drop(n block.Number) {
	if sum, ok := s.sums[n]; ok {
		delete(s.sums, n)
		delete(s.blocks, sum)
	}
}

// find is the block that had these contents, or 0.
func (s *sharedXattrs) find(p []byte) block.Number {
	sum := s.sum(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocks[sum]
}

// remember notes the contents that the operation gives a block, when it commits.
func (o *op) remember(n block.Number, p []byte) {
	sum := o.w.shared.sum(p)
	o.tx.Sequenced(func(block.Seq) { o.w.shared.record(n, sum) })
}

// shareXattrs adds a reference to a block that has the attributes in p, and returns it, or 0 where none is known.
func (o *op) shareXattrs(p []byte) (block.Number, error) {
	at := o.w.shared.find(p)
	if at == 0 {
		return 0, nil
	}
	q, err := o.fs.block(at)
	if err != nil {
		return 0, err
	}
	if refs := disk.XattrRefs(q); refs == 0 || refs >= maxXattrRefs || !bytes.Equal(p[xattrHeader:], q[xattrHeader:]) {
		return 0, nil
	}
	if err := o.tx.Depend(at, merge.Range{Off: xattrHeader, Len: uint32(len(q)) - xattrHeader}); err != nil {
		return 0, err
	}
	return at, o.edit(at, kindXattrs, 0, merge.Add(merge.Field{Off: disk.OffXattrRefs, Width: 4}, 1, 2, maxXattrRefs))
}
