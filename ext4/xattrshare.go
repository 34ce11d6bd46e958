package ext4

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// byContents remembers places by their contents: blocks of attributes, so that inodes with the same attributes refer to
// one, and inodes with values, as the kernel's mbcache does. It is a hint: the transaction that adds a reference checks
// whether the place still has those contents, and is one at all. A place is forgotten before its freeing can be seen.
type byContents[K comparable] struct {
	seed maphash.Seed

	mu     sync.Mutex // guards the rest
	places map[uint64]K
	sums   map[K]uint64
}

const (
	maxShared    = 4096 // places that are remembered
	maxXattrRefs = 1024 // inodes of one block (kernel, EXT4_XATTR_REFCOUNT_MAX)
	xattrHeader  = 32   // bytes: references, hash and checksum are in it
)

func newByContents[K comparable]() byContents[K] {
	return byContents[K]{seed: maphash.MakeSeed(), places: map[uint64]K{}, sums: map[K]uint64{}}
}

// sum stands for contents.
func (s *byContents[K]) sum(p []byte) uint64 { return maphash.Bytes(s.seed, p) }

// record keeps the sum of a place's contents.
func (s *byContents[K]) record(at K, sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(at)
	if len(s.places) >= maxShared {
		for _, other := range s.places { // any of them
			s.drop(other)
			break
		}
	}
	if old, ok := s.places[sum]; ok {
		delete(s.sums, old) // it is full, or the older of two
	}
	s.places[sum], s.sums[at] = at, sum
}

func (s *byContents[K]) forget(at K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(at)
}

// drop forgets a place. The caller holds mu.
func (s *byContents[K]) drop(at K) {
	if sum, ok := s.sums[at]; ok {
		delete(s.sums, at)
		delete(s.places, sum)
	}
}

// find is the place that had these contents, and false where none is known.
func (s *byContents[K]) find(p []byte) (at K, known bool) {
	sum := s.sum(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known = s.places[sum]
	return at, known
}

// remember notes the contents that the operation gives a block, when it commits.
func (o *op) remember(n block.Number, p []byte) {
	sum := o.w.shared.sum(p[xattrHeader:])
	o.tx.Sequenced(func(block.Seq) { o.w.shared.record(n, sum) })
}

// shareXattrs adds a reference to a block that has the attributes in p, and returns it, or 0 where none is known.
func (o *op) shareXattrs(p []byte) (block.Number, error) {
	at, known := o.w.shared.find(p[xattrHeader:])
	if !known {
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
