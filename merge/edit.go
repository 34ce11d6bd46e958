package merge

import (
	"encoding/binary"
	"fmt"
)

// Kind is the type of an edit.
type Kind uint8

// The types of edits, as the package comment lists them.
const (
	KindSet Kind = iota
	KindExtent
	KindAppend
	KindAdd
	KindMax
	KindBits
	KindCheck
	KindReapply
	KindWhole
	kinds
)

var kindNames = [kinds]string{"set", "extent", "append", "add", "max", "bits", "check", "reapply", "whole"}

func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Range is Len bytes at Off of a block.
type Range struct{ Off, Len uint32 }

// End is the offset after the last byte.
func (r Range) End() uint32 { return r.Off + r.Len }

func (r Range) within(size int) bool {
	return uint64(r.Off)+uint64(r.Len) <= uint64(size)
}

// Used is where an append has the number of bytes in use, on which its place depends. ok is false for every other
// edit.
func (e *Edit) Used() (r Range, ok bool) {
	return Range{e.field.Off, uint32(e.field.Width)}, e.kind == KindAppend
}

// Field is a little-endian integer in a block: Bits bits from bit Shift on, of the Width bytes (1, 2, 4 or 8) at Off.
// Bits 0 means all that are left. Signed takes them as two's complement where a max compares them.
type Field struct {
	Off    uint32
	Width  uint8
	Shift  uint8
	Bits   uint8
	Signed bool
}

func (f Field) bits() uint8 {
	if f.Bits == 0 {
		return f.Width*8 - f.Shift
	}
	return f.Bits
}

func (f Field) valid(size int) bool {
	switch f.Width {
	case 1, 2, 4, 8:
	default:
		return false
	}
	return Range{f.Off, uint32(f.Width)}.within(size) && f.Shift < f.Width*8 && f.bits() <= f.Width*8-f.Shift
}

func (f Field) mask() uint64 { return ^uint64(0) >> (64 - f.bits()) }

func (f Field) raw(b []byte) uint64 {
	p := b[f.Off:]
	switch f.Width {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(p))
	case 4:
		return uint64(binary.LittleEndian.Uint32(p))
	}
	return binary.LittleEndian.Uint64(p)
}

// Get reads the field. The field lies within the block.
func (f Field) Get(b []byte) uint64 { return f.raw(b) >> f.Shift & f.mask() }

// Put writes the field. The field lies within the block; v is cut to its bits.
func (f Field) Put(b []byte, v uint64) {
	m := f.mask() << f.Shift
	v = f.raw(b)&^m | v<<f.Shift&m
	p := b[f.Off:]
	switch f.Width {
	case 1:
		p[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(p, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(p, uint32(v))
	default:
		binary.LittleEndian.PutUint64(p, v)
	}
}

// less compares two values of the field.
func (f Field) less(a, b uint64) bool {
	if f.Signed {
		s := 64 - f.bits()
		return int64(a<<s) < int64(b<<s)
	}
	return a < b
}

// Edit is one typed change of a block. Make one with the functions below. Bytes that it is given are kept, not copied:
// they must not change until the transaction has ended.
type Edit struct {
	kind   Kind
	set    bool   // bits: set or clear
	blind  bool   // set: not computed from the bytes that it replaces
	off    uint32 // set, extent: where; append: where the records begin; bits: the bitmap's first byte
	data   []byte
	field  Field // add; append: bytes in use
	delta  int64
	low    uint64
	high   uint64 // add: bounds, inclusive; append: the offset where the room ends
	fields []Field
	values []uint64
	bits   []uint32
	check  func(block []byte) bool
	apply  func(block []byte) error
}

// Kind is the type of the edit.
func (e *Edit) Kind() Kind { return e.kind }

// Set writes bytes at an offset. Two sets of disjoint ranges both stand. Two of the same bytes do not: each may have
// been computed from what was there, as in an increment by reading and writing.
func Set(off uint32, data []byte) Edit { return Edit{kind: KindSet, off: off, data: data} }

// SetBlind is Set for bytes that do not depend on what the transaction read: two of the same bytes both stand.
func SetBlind(off uint32, data []byte) Edit {
	return Edit{kind: KindSet, off: off, data: data, blind: true}
}

// Extent is Set for a record that stands for a range of blocks; only its proof has another name.
func Extent(off uint32, data []byte) Edit { return Edit{kind: KindExtent, off: off, data: data} }

// Append writes data after the bytes in use of a log that begins at start and has room to limit (offsets in the
// block). used holds the number of bytes in use, from start on. The place of the data is known when the transaction
// has committed.
func Append(used Field, start, limit uint32, data []byte) Edit {
	return Edit{kind: KindAppend, field: used, off: start, high: uint64(limit), data: data}
}

// Add adds delta to a field. The result must stay within low to high, both inclusive: the bounds that the transaction
// decided under.
func Add(f Field, delta int64, low, high uint64) Edit {
	return Edit{kind: KindAdd, field: f, delta: delta, low: low, high: high}
}

// Max raises an ordered tuple of fields, the first one counting most, to the values where those are greater. fields
// and values have the same length.
func Max(fields []Field, values []uint64) Edit {
	return Edit{kind: KindMax, fields: fields, values: values}
}

// SetBits sets bits of the bitmap that begins at byte off, and asserts that each was clear. Bit 0 is the lowest of the
// first byte.
func SetBits(off uint32, bits ...uint32) Edit {
	return Edit{kind: KindBits, set: true, off: off, bits: bits}
}

// ClearBits clears bits of the bitmap that begins at byte off, and asserts that each was set.
func ClearBits(off uint32, bits ...uint32) Edit { return Edit{kind: KindBits, off: off, bits: bits} }

// Check changes nothing and stands while the predicate holds. The predicate is pure and bounded, and must not write to
// the block.
func Check(holds func(block []byte) bool) Edit { return Edit{kind: KindCheck, check: holds} }

// Reapply changes the block by a function that is run again on the newest bytes. The function is pure, bounded and
// deterministic; it returns an error where it cannot do its work on these bytes.
func Reapply(do func(block []byte) error) Edit { return Edit{kind: KindReapply, apply: do} }

// Whole replaces the block. It stands on an unchanged block only.
func Whole(data []byte) Edit { return Edit{kind: KindWhole, data: data} }
