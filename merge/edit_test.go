package merge

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// TestEdit_Properties: what the kinds of edits say of themselves.
func TestEdit_Properties(t *testing.T) {
	any := func([]byte) bool { return true }
	for _, c := range []struct {
		name  string
		edit  Edit
		total bool // in a block of 64 bytes
		used  bool
	}{
		{"set", Set(60, []byte("four")), true, false},
		{"set across the end", Set(61, []byte("four")), false, false},
		{"set at the end of numbers", Set(1<<32-1, []byte("four")), false, false},
		{"whole", Whole(make([]byte, 64)), true, false},
		{"whole of another size", Whole(make([]byte, 63)), false, false},
		{"append", Append(used, 40, 56, []byte("x")), false, true},
		{"add", Add(counter, 1, 0, 9), false, false},
		{"bits", ClearBits(30, 3), false, false},
		{"check", Check(any), false, false},
	} {
		if got := c.edit.Total(64); got != c.total {
			t.Errorf("%s: total %v", c.name, got)
		}
		if r, ok := c.edit.Used(); ok != c.used || ok && r != (Range{used.Off, uint32(used.Width)}) {
			t.Errorf("%s: used %v, %v", c.name, r, ok)
		}
	}
}

// TestClearBits: bits that are set are cleared, alone, and a clear one or one outside is refused.
func TestClearBits(t *testing.T) {
	block := bytes.Repeat([]byte{0xff}, size)
	block[31] = 0x7f // bit 15 is clear
	for _, c := range []struct {
		bits []uint32
		want [2]byte
		err  error
	}{
		{nil, [2]byte{0xff, 0x7f}, nil},
		{[]uint32{0, 9}, [2]byte{0xfe, 0x7d}, nil},
		{[]uint32{15}, [2]byte{0xff, 0x7f}, ErrAsserted},
		{[]uint32{0, 15}, [2]byte{}, ErrAsserted},
		{[]uint32{8 * (size - 30)}, [2]byte{0xff, 0x7f}, ErrOutside},
	} {
		p, e := bytes.Clone(block), ClearBits(30, c.bits...)
		if _, err := Apply(p, &e); !errors.Is(err, c.err) {
			t.Errorf("clear %d: %v, expected %v", c.bits, err, c.err)
		} else if err == nil && [2]byte(p[30:]) != c.want {
			t.Errorf("clear %d: %x, expected %x", c.bits, p[30:32], c.want)
		}
	}
}

// TestUnion: ranges that cover the bytes of both, ascending and disjoint, behind what is there already.
func TestUnion(t *testing.T) {
	before := []Range{{1, 1}}
	for _, c := range []struct{ a, b, want []Range }{
		{nil, nil, nil},
		{[]Range{{5, 2}}, nil, []Range{{5, 2}}},
		{[]Range{{5, 2}}, []Range{{0, 3}}, []Range{{0, 3}, {5, 2}}},
		{[]Range{{5, 2}}, []Range{{7, 3}}, []Range{{5, 5}}}, // they touch
		{[]Range{{5, 9}}, []Range{{7, 3}}, []Range{{5, 9}}}, // one covers the other
		{[]Range{{0, 4}, {8, 4}}, []Range{{3, 6}, {20, 0}}, []Range{{0, 12}}},
	} {
		got := Union(slices.Clone(before), c.a, c.b)
		if !slices.Equal(got, append(slices.Clone(before), c.want...)) {
			t.Errorf("%v and %v: %v, expected %v", c.a, c.b, got[1:], c.want)
		}
	}
}
