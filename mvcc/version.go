package mvcc

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// version is a whole block, immutable while it has references. The two newest of a chain are whole: a snapshot that is
// taken while the newest is not yet published sees the one before. Older ones are deltas, each of which makes its
// block from the next newer one, and hang below the older whole one:
//
//	chain ─ head ─▶ version 9 ─ before ─▶ version 8 ─ below ─▶ delta 7 ─▶ delta 3 ─▶ nil
//
// The chain holds one reference, and so does each transaction that was handed the bytes. The last release returns the
// version to the pool: at a million commits a second fresh blocks would keep the garbage collector busy with nothing
// else.
type version struct {
	refs    atomic.Int32
	seq     block.Seq
	data    []byte
	lent    bool                    // data belongs to the cache of clean blocks, too
	changed []merge.Range           // where it differs from the version before
	before  atomic.Pointer[version] // the chain's other whole version; changed only under the latch, like below
	below   atomic.Pointer[delta]   // empty while there is a version before
}

// acquire takes a reference unless the version is free already.
func (v *version) acquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (v *version) release(pool *versionPool) {
	if v.refs.Add(-1) == 0 {
		pool.put(v)
	}
}

// versionPool recycles versions.
type versionPool struct {
	pool *sync.Pool
	size block.Size
}

// get returns a version to which the caller has the only reference. Its data is undefined.
func (p *versionPool) get() *version {
	v, _ := p.pool.Get().(*version)
	if v == nil {
		v = &version{}
	}
	if v.data == nil {
		v.data = make([]byte, p.size)
	}
	v.refs.Store(1)
	return v
}

func (p *versionPool) put(v *version) {
	if v.lent {
		v.data, v.lent = nil, false
	}
	v.below.Store(nil)
	v.before.Store(nil)
	p.pool.Put(v)
}

// delta is an older version: the bytes in which it differs from the next newer one. It is immutable.
type delta struct {
	seq   block.Seq
	older *delta
	data  []byte // as encodeDelta made it, or packed
	since int64  // nanoseconds of the store's clock when it became history
	codec codec
	tried codec // the strongest that was tried
}

// encodeDelta packs the ranges of a block: for each, its offset and length as varints, then its bytes. No range at all
// means that the two versions are identical.
func encodeDelta(ranges []merge.Range, block []byte) []byte {
	n := 0
	for _, r := range ranges {
		n += 6 + int(r.Len)
	}
	out := make([]byte, 0, n)
	for _, r := range ranges {
		out = binary.AppendUvarint(out, uint64(r.Off))
		out = binary.AppendUvarint(out, uint64(r.Len))
		out = append(out, block[r.Off:r.End()]...)
	}
	return out
}

// apply makes the delta's version of the next newer one, in place. ranges, if not nil, gets the ranges appended.
func (d *delta) apply(block []byte, ranges *[]merge.Range) error {
	b, err := d.codec.unpack(d.data)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		off, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[n:])
		b = b[n+m:]
		copy(block[off:], b[:length])
		b = b[length:]
		if ranges != nil {
			*ranges = append(*ranges, merge.Range{Off: uint32(off), Len: uint32(length)})
		}
	}
	return nil
}

// covers reports whether the delta holds bytes for all of the ranges: a newer one that has only these adds nothing to
// it.
func (d *delta) covers(ranges []merge.Range) bool {
	b := d.data
	if d.codec != plain {
		return false
	}
	var have merge.Range
	for _, r := range ranges {
		for r.End() > have.End() || r.Off < have.Off {
			if len(b) == 0 || r.Off < have.Off {
				return false
			}
			off, n := binary.Uvarint(b)
			length, m := binary.Uvarint(b[n:])
			have = merge.Range{Off: uint32(off), Len: uint32(length)}
			b = b[n+m+int(length):]
		}
	}
	return true
}

// compose makes one delta of two: d, and the next newer one, whose version goes.
func compose(d, newer *delta, scratch []byte) (*delta, error) {
	var a1, a2, a3 [16]merge.Range // on the stack
	r1, r2 := a1[:0], a2[:0]
	if err := newer.apply(scratch, &r1); err != nil {
		return nil, err
	}
	if err := d.apply(scratch, &r2); err != nil {
		return nil, err
	}
	return &delta{seq: d.seq, older: d.older, data: encodeDelta(merge.Union(a3[:0], r1, r2), scratch), since: d.since}, nil
}

// bytes is the memory that the delta takes.
func (d *delta) bytes() int64 { return int64(cap(d.data)) + deltaSize }

// deltaSize is the size of a delta's own fields in memory, in bytes.
const deltaSize = 64
