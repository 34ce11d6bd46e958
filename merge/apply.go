package merge

import (
	"fmt"
	"math/bits"

	"github.com/varvefs/varve/internal/mutant"
)

// Apply runs one edit on a block in place. placed is the offset where an append landed. On an error a reapply may have
// left the block half changed; every other edit leaves it as it was.
func Apply(block []byte, e *Edit) (placed uint32, err error) {
	switch e.kind {
	case KindSet, KindExtent:
		if !(Range{e.off, uint32(len(e.data))}).within(len(block)) {
			return 0, ErrOutside
		}
		copy(block[e.off:], e.data)
	case KindAppend:
		return appendTo(block, e)
	case KindAdd:
		return 0, add(block, e)
	case KindMax:
		return 0, raise(block, e)
	case KindBits:
		return 0, flip(block, e)
	case KindCheck, KindReapply:
		return 0, call(block, e)
	case KindWhole:
		if len(e.data) != len(block) {
			return 0, fmt.Errorf("%w: %d bytes for a block of %d", ErrOutside, len(e.data), len(block))
		}
		copy(block, e.data)
	default:
		return 0, ErrKind
	}
	return 0, nil
}

// Total reports whether the edit can be applied to any block of a size: it lies within it, and asks nothing of its
// bytes.
func (e *Edit) Total(size int) bool {
	switch e.kind {
	case KindSet, KindExtent:
		return Range{e.off, uint32(len(e.data))}.within(size)
	case KindWhole:
		return len(e.data) == size
	}
	return false
}

func appendTo(block []byte, e *Edit) (uint32, error) {
	if !e.field.valid(len(block)) || e.high > uint64(len(block)) || uint64(e.off) > e.high {
		return 0, ErrOutside
	}
	used := e.field.Get(block)
	room := e.high - uint64(e.off)
	if used > room || uint64(len(e.data)) > room-used || used+uint64(len(e.data)) > e.field.mask() {
		return 0, ErrRoom
	}
	at := e.off + uint32(used)
	copy(block[at:], e.data)
	e.field.Put(block, used+uint64(len(e.data)))
	return at, nil
}

func add(block []byte, e *Edit) error {
	if !e.field.valid(len(block)) {
		return ErrOutside
	}
	v := e.field.Get(block)
	var sum, carry uint64
	if e.delta >= 0 {
		sum, carry = bits.Add64(v, uint64(e.delta), 0)
	} else {
		sum, carry = bits.Sub64(v, -uint64(e.delta), 0)
	}
	if (carry != 0 || sum < e.low || sum > e.high || sum > e.field.mask()) && !mutant.Off(mutant.AddBounds) {
		return ErrBounds
	}
	e.field.Put(block, sum)
	return nil
}

func raise(block []byte, e *Edit) error {
	if len(e.fields) != len(e.values) {
		return ErrOutside
	}
	for _, f := range e.fields {
		if !f.valid(len(block)) {
			return ErrOutside
		}
	}
	for i, f := range e.fields {
		have, want := f.Get(block), e.values[i]&f.mask()
		if f.less(want, have) && !mutant.Off(mutant.MaxLowers) {
			return nil
		}
		if f.less(have, want) || have != want && mutant.Off(mutant.MaxLowers) {
			for j, g := range e.fields {
				g.Put(block, e.values[j])
			}
			return nil
		}
	}
	return nil
}

func flip(block []byte, e *Edit) error {
	for i, n := range e.bits {
		at, mask := uint64(e.off)+uint64(n/8), byte(1)<<(n%8)
		var err error
		switch {
		case at >= uint64(len(block)):
			err = ErrOutside
		case block[at]&mask != 0 == e.set:
			if mutant.Off(mutant.BitsAsserted) {
				continue
			}
			err = ErrAsserted
		}
		if err != nil {
			for _, m := range e.bits[:i] {
				block[e.off+m/8] ^= 1 << (m % 8)
			}
			return err
		}
		block[at] ^= mask
	}
	return nil
}

// call runs a caller's function; one that panics is refused, not passed on.
func call(block []byte, e *Edit) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrPanic, r)
		}
	}()
	if e.kind == KindCheck {
		if !e.check(block) && !mutant.Off(mutant.EveryCheck) {
			return ErrCheck
		}
		return nil
	}
	return e.apply(block)
}
