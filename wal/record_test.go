package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// decoded is a record's changes, one a line.
func decoded(t *testing.T, r record) (out []string) {
	t.Helper()
	if !r.changes(size, func(n block.Number, off uint32, data []byte) {
		out = append(out, fmt.Sprintf("%d+%d %q %v", n, off, data, data == nil))
	}) {
		t.Fatal("the body is malformed")
	}
	return out
}

// TestRecord_Changes: a record decodes to what was built; its bytes are those of docs/wal-format.md.
func TestRecord_Changes(t *testing.T) {
	data := make([]byte, size)
	copy(data, "hello")
	copy(data[1019:], "world")
	for name, c := range map[string]struct {
		build func(r *Record)
		body  string // hexadecimal
		want  []string
	}{
		"no block": {func(r *Record) { r.Begin(0) }, "00", nil},
		"a range": {func(r *Record) {
			r.Begin(1)
			r.Change(3, []merge.Range{{Off: 0, Len: 5}}, data)
		}, "01" + "03" + "01" + "0005" + hex.EncodeToString([]byte("hello")), []string{`3+0 "hello" false`}},
		"the last bytes of a block": {func(r *Record) {
			r.Begin(1)
			r.Change(200, []merge.Range{{Off: 1, Len: 2}, {Off: 1019, Len: 5}}, data)
		}, "01" + "c801" + "02" + "0102" + "656c" + "fb0705" + hex.EncodeToString([]byte("world")),
			[]string{`200+1 "el" false`, `200+1019 "world" false`}},
		"a fresh block": {func(r *Record) {
			r.Begin(2)
			r.Fresh(9)
			r.Change(1, []merge.Range{{Off: 0, Len: 1}}, data)
		}, "02" + "0900" + "01" + "01" + "0001" + "68", []string{`9+0 "" true`, `1+0 "h" false`}},
	} {
		t.Run(name, func(t *testing.T) {
			var b Record
			c.build(&b)
			b.end(77, 5)
			if got := hex.EncodeToString(b.bytes[recordHeader:]); got != c.body {
				t.Errorf("the body is %s, want %s", got, c.body)
			}
			r, err := decodeRecord(b.bytes, 5)
			if err != nil || r.kind != typeCommit || r.seq != 77 || r.length != b.Len() {
				t.Fatalf("%+v, %v", r, err)
			}
			if got := decoded(t, r); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestRecord_Rejects: with any bit flipped, any byte missing, or another incarnation's salt it is no whole record.
func TestRecord_Rejects(t *testing.T) {
	var b Record
	b.Begin(1)
	b.Change(3, []merge.Range{{Off: 8, Len: 16}}, make([]byte, size))
	b.end(4, 5)
	if _, err := decodeRecord(append(slices.Clone(b.bytes), 1, 2, 3), 5); err != nil {
		t.Errorf("with more behind it: %v", err)
	}
	for i := range b.Len() * 8 {
		p := slices.Clone(b.bytes)
		p[i/8] ^= 1 << (i % 8)
		if _, err := decodeRecord(p, 5); err == nil {
			t.Errorf("bit %d of byte %d is flipped, and the record is taken", i%8, i/8)
		}
	}
	for n := range b.Len() {
		if _, err := decodeRecord(b.bytes[:n], 5); err == nil {
			t.Errorf("%d of %d bytes are a record", n, b.Len())
		}
	}
	if _, err := decodeRecord(b.bytes, 6); err == nil {
		t.Error("a record of another incarnation is taken")
	}
	if _, err := decodeRecord(make([]byte, 64), 5); err == nil {
		t.Error("zeros are a record")
	}
}

// TestRecord_Malformed: a body that no builder makes is refused, also where its checksum is right.
func TestRecord_Malformed(t *testing.T) {
	u := func(vs ...uint64) (out []byte) {
		for _, v := range vs {
			out = binary.AppendUvarint(out, v)
		}
		return out
	}
	for name, body := range map[string][]byte{
		"empty":                         {},
		"fewer blocks than it counts":   u(2, 1, 0),
		"fewer ranges than it counts":   append(u(1, 1, 2, 0, 1), 7),
		"bytes behind the last block":   append(u(1, 1, 0), 7),
		"an offset behind the block":    u(1, 1, 1, uint64(size)+1, 0),
		"a range past the block's end":  append(u(1, 1, 1, uint64(size)-1, 2), 7, 7),
		"a length that overflows":       u(1, 1, 1, 1, 1<<64-1),
		"more bytes than the record":    append(u(1, 1, 1, 0, 9), 7),
		"a number of eleven bytes":      bytes.Repeat([]byte{0x80}, 11),
		"a number that is not complete": {0x80},
		"very many blocks":              u(1<<63, 1, 0),
	} {
		t.Run(name, func(t *testing.T) {
			p := append(beginRecord(nil, typeCommit, 1), body...)
			endRecord(p, 5)
			r, err := decodeRecord(p, 5)
			if err != nil {
				t.Fatal(err)
			}
			calls := 0
			if r.changes(size, func(block.Number, uint32, []byte) { calls++ }) {
				t.Error("it is taken for well formed")
			}
			if calls > 2 {
				t.Errorf("%d changes of %d bytes", calls, len(body))
			}
		})
	}
}

// TestRecord_Types: an epoch record and an end record are whole only with their own length and magic; an unknown type
// is no record.
func TestRecord_Types(t *testing.T) {
	epoch := appendEpoch(nil, 7, 99, 12345, 5)
	r, err := decodeRecord(epoch, 5)
	if err != nil || r.kind != typeEpoch || r.seq != 99 {
		t.Fatalf("%+v, %v", r, err)
	}
	if e, flushed := r.epoch(); e != 7 || flushed != 12345 {
		t.Errorf("epoch %d, flushed to %d", e, flushed)
	}
	end := appendEnd([]byte("before"), 99, [32]byte{1, 2, 3}, 5)[len("before"):]
	if r, err = decodeRecord(end, 5); err != nil || r.kind != typeEnd || [32]byte(r.body) != [32]byte{1, 2, 3} {
		t.Errorf("%+v, %v", r, err)
	}
	for name, p := range map[string][]byte{
		"an epoch without its magic": func() []byte {
			p := slices.Clone(epoch)
			p[recordHeader] ^= 1
			return p
		}(),
		"a long epoch":      append(slices.Clone(epoch), 0),
		"a short end":       end[:len(end)-1],
		"type 4":            beginRecord(nil, 4, 1),
		"an epoch, no body": beginRecord(nil, typeEpoch, 1),
	} {
		p = slices.Clone(p)
		endRecord(p, 5)
		if r, err := decodeRecord(p, 5); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestRecord_AllocatesNothing: a record that is built again uses the memory of the one before.
func TestRecord_AllocatesNothing(t *testing.T) {
	var b Record
	data := make([]byte, size)
	build := func() {
		b.Begin(2)
		b.Fresh(1)
		b.Change(3, []merge.Range{{Off: 0, Len: 100}}, data)
		b.end(1, 5)
	}
	build()
	if n := testing.AllocsPerRun(100, build); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
