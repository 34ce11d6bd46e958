package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// sum fills in the checksum of a control block or a header.
func sum(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[508:], crc32.Checksum(b[:508], castagnoli))
	return b
}

// TestControl_Codec: what was encoded is decoded; each check has a case that it rejects.
func TestControl_Codec(t *testing.T) {
	c := control{size: 4096, identity: Identity{1, 15: 2}, incarnation: 3, segment: 8192, start: 4, startSeq: 5,
		generation: 6,
		image:      1 << 40, epoch: 7}
	if got, err := decodeControl(c.encode()); err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return sum(b) }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return sum(b) }
	}
	for name, x := range map[string]struct {
		damage func([]byte) []byte
		want   error
	}{
		"zeros":                       {func([]byte) []byte { return make([]byte, headerSize) }, errNoControl},
		"too short":                   {func(b []byte) []byte { return b[:headerSize-1] }, errNoControl},
		"another magic":               {func(b []byte) []byte { b[0] ^= 1; return sum(b) }, errNoControl},
		"a wrong checksum":            {func(b []byte) []byte { b[100] ^= 1; return b }, errNoControl},
		"a newer version":             {put32(8, Version+1), ErrNewer},
		"a newer version's checksum":  {func(b []byte) []byte { b[8]++; return b }, ErrNewer},
		"blocks of 3000 bytes":        {put32(12, 3000), ErrCorrupt},
		"blocks of 0 bytes":           {put32(12, 0), ErrCorrupt},
		"segments of 0 bytes":         {put64(40, 0), ErrCorrupt},
		"segments of 5000 bytes":      {put64(40, 5000), ErrCorrupt},
		"segments beyond the largest": {put64(40, maxSegment+segmentUnit), ErrCorrupt},
		"segments of 2^63 bytes":      {put64(40, 1<<63), ErrCorrupt},
	} {
		if got, err := decodeControl(x.damage(c.encode())); !errors.Is(err, x.want) {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, x.want)
		}
	}
}

// TestHeader_Codec: what was encoded is decoded; each check has a case that it rejects.
func TestHeader_Codec(t *testing.T) {
	h := header{incarnation: 1, number: 2, first: 3, flushed: 4, before: [32]byte{5, 31: 6}}
	if got, ok := decodeHeader(h.encode()); !ok || got != h {
		t.Fatalf("%+v, %v", got, ok)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"zeros":            func([]byte) []byte { return make([]byte, headerSize) },
		"too short":        func(b []byte) []byte { return b[:headerSize-1] },
		"another magic":    func(b []byte) []byte { b[7] ^= 1; return sum(b) },
		"a wrong checksum": func(b []byte) []byte { b[40] ^= 1; return b },
	} {
		if got, ok := decodeHeader(damage(h.encode())); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestReadControl_Newest: of two control blocks the one with the greater generation counts, unless it is torn.
func TestReadControl_Newest(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	for i := range block.Number(300) {
		f.put(l, i%16, uint64(i))
		mustSync(t, l)
	}
	before := l.ctl.generation
	if err := l.Truncate(l.Durable()); err != nil {
		t.Fatal(err)
	}
	l.Abandon()
	got, err := readControl(f.dev)
	if err != nil || got.generation != before+1 || got.start != l.ctl.start {
		t.Fatalf("%+v, %v; want generation %d from segment %d", got, err, before+1, l.ctl.start)
	}
	newest := int64(got.generation%2) * controlSize
	if _, err := f.dev.WriteAt(make([]byte, 100), newest); err != nil {
		t.Fatal(err)
	}
	if got, err = readControl(f.dev); err != nil || got.generation != before {
		t.Errorf("%+v, %v; want the one before, of generation %d", got, err, before)
	}
	if _, err := f.dev.WriteAt(make([]byte, 100), controlSize-newest); err != nil {
		t.Fatal(err)
	}
	if got, err = readControl(f.dev); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%+v, %v; want %v: there is no whole control block", got, err, ErrCorrupt)
	}
}
