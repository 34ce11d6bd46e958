package merge

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/varvefs/varve/internal/mutant"
)

// Result is what Resolve found. Its slices are reused by the next call with the same Result.
type Result struct {
	Proof  Proof
	Ranges []Range  // what differs from newest, ascending and disjoint: the resolved delta; all of it after an equal Whole
	Placed []uint32 // by edit: where an append landed
	Edit   int      // of a refusal: the index of the edit that does not stand

	moved relocation
}

// Resolve runs mine, which was decided on base, on newest, and leaves the block in dst. All three blocks have one
// length; dst overlaps neither of the others. base and newest may be the same slice, which then proves that nothing
// changed. An error means that mine does not stand (M3): ErrChanged, or what Apply said on the newest bytes. dst is
// then undefined.
func Resolve(dst, base, newest []byte, mine []Edit, r *Result) error {
	r.Ranges, r.Placed, r.Proof, r.Edit = r.Ranges[:0], r.Placed[:0], 0, 0
	same := len(base) == 0 || &base[0] == &newest[0]
	copy(dst, newest)
	moved, diff, whole := false, false, false
	follow := !same && r.moved.needed(mine)
	if follow {
		r.moved.begin(base)
	}
	for i := range mine {
		e := &mine[i]
		r.Edit = i
		if !same && !e.stands(base, newest, moved) || follow && !r.moved.stands(e) {
			return ErrChanged
		}
		if follow {
			r.moved.keep(e, dst)
		}
		at, err := Apply(dst, e)
		if err == nil && follow {
			err = r.moved.follow(e, at, dst)
		}
		if err != nil {
			return err
		}
		r.Placed = append(r.Placed, at)
		r.Proof |= byKind[e.kind]
		moved = moved || e.kind == KindAppend || e.kind == KindReapply
		whole = whole || e.kind == KindWhole
		diff = diff || whole || e.kind == KindReapply
		if !diff {
			r.Ranges = e.ranges(r.Ranges, at)
		}
	}
	r.Edit = 0
	if same {
		r.Proof = DisjointBlocks
	}
	if diff {
		r.Ranges = Diff(r.Ranges[:0], newest, dst)
		if whole && len(r.Ranges) == 0 {
			// The block may be new to its writer: what the cache has of its former life need not be on the device.
			r.Ranges = append(r.Ranges, Range{0, uint32(len(dst))})
		}
	} else {
		r.Ranges = normal(r.Ranges, gap)
	}
	return nil
}

// stands checks the condition of an edit that its effect does not check by itself. moved: an edit before it may have
// landed elsewhere than on base.
func (e *Edit) stands(base, newest []byte, moved bool) bool {
	switch e.kind {
	case KindSet, KindExtent:
		if e.kind == KindSet && mutant.Off(mutant.EverySet) || e.kind == KindExtent && mutant.Off(mutant.EveryExtent) {
			return true
		}
		rg := Range{e.off, uint32(len(e.data))}
		if !rg.within(len(base)) {
			return false
		}
		if moved {
			return bytes.Equal(base, newest)
		}
		return Unchanged(base, newest, rg) ||
			(e.blind || mutant.Off(mutant.EqualBytes)) && bytes.Equal(newest[rg.Off:rg.End()], e.data)
	case KindWhole:
		return bytes.Equal(base, newest) || mutant.Off(mutant.EveryWhole)
	}
	return true
}

// Unchanged reports whether two versions of a block have the same bytes in a range. A range outside the block has
// changed.
func Unchanged(a, b []byte, r Range) bool {
	return r.within(len(a)) && r.within(len(b)) && bytes.Equal(a[r.Off:r.End()], b[r.Off:r.End()])
}

// Ranges are the bytes that edits are about, sorted. An append counts by its bytes in use, which have its place; a
// check, a reapply and a whole have none.
func Ranges(edits []Edit) []Range {
	var to []Range
	for i := range edits {
		if r, ok := edits[i].Used(); ok {
			to = append(to, r)
		} else {
			to = edits[i].ranges(to, 0)
		}
	}
	return normal(to, 0)
}

// ranges appends the bytes that an edit changed.
func (e *Edit) ranges(to []Range, placed uint32) []Range {
	switch e.kind {
	case KindSet, KindExtent:
		to = append(to, Range{e.off, uint32(len(e.data))})
	case KindAppend:
		to = append(to, Range{placed, uint32(len(e.data))}, Range{e.field.Off, uint32(e.field.Width)})
	case KindAdd:
		to = append(to, Range{e.field.Off, uint32(e.field.Width)})
	case KindMax:
		for _, f := range e.fields {
			to = append(to, Range{f.Off, uint32(f.Width)})
		}
	case KindBits:
		for _, n := range e.bits {
			at := e.off + n/8
			if k := len(to); k > 0 && to[k-1].Off <= at && at <= to[k-1].End() {
				to[k-1].Len = max(to[k-1].Len, at-to[k-1].Off+1)
				continue
			}
			to = append(to, Range{at, 1})
		}
	}
	return to
}

// gap is the number of equal bytes that are cheaper to log than a further range.
const gap = 4

// normal sorts ranges and joins those with at most so many bytes between them. Empty ones go.
func normal(rs []Range, apart uint32) []Range {
	if len(rs) == 1 && rs[0].Len > 0 {
		return rs
	}
	slices.SortFunc(rs, func(a, b Range) int { return int(a.Off) - int(b.Off) })
	out := rs[:0]
	for _, r := range rs {
		if r.Len == 0 {
			continue
		}
		if k := len(out); k > 0 && r.Off <= out[k-1].End()+apart {
			out[k-1].Len = max(out[k-1].End(), r.End()) - out[k-1].Off
			continue
		}
		out = append(out, r)
	}
	return out
}

// Union appends the ranges that cover exactly the bytes of a and b, ascending and disjoint.
func Union(to []Range, a, b []Range) []Range {
	k := len(to)
	to = append(append(to, a...), b...)
	return to[:k+len(normal(to[k:], 0))]
}

// Diff appends the ranges in which two blocks of one length differ, ascending and disjoint.
func Diff(to []Range, a, b []byte) []Range {
	first := len(to)
	for i := 0; i < len(a); {
		i += equalPrefix(a[i:], b[i:])
		if i == len(a) {
			break
		}
		start := i
		for i < len(a) && a[i] != b[i] {
			i++
		}
		if k := len(to); k > first && uint32(start) <= to[k-1].End()+gap {
			to[k-1].Len = uint32(i) - to[k-1].Off
			continue
		}
		to = append(to, Range{uint32(start), uint32(i - start)})
	}
	return to
}

// equalPrefix is the number of bytes that two blocks share at their beginning.
func equalPrefix(a, b []byte) int {
	n := 0
	for len(a)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}
