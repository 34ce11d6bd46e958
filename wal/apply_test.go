package wal

import (
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// endless is a home device of zeros that keeps nothing, and counts the blocks that are read between writes.
type endless struct{ read, most int }

func (e *endless) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	e.read += len(p)
	e.most = max(e.most, e.read)
	return len(p), nil
}

func (e *endless) WriteAt(p []byte, _ int64) (int, error) {
	e.read = 0
	return len(p), nil
}

func (e *endless) Sync() error { return nil }
func (e *endless) Size() int64 { return 1 << 50 }

// TestApply_ManyBlocks: one record of a few kilobytes may name more blocks than there is memory for. They go home as
// they come.
func TestApply_ManyBlocks(t *testing.T) {
	const blocks = 3 * applyBytes / int(block.MaxSize)
	var b Record
	b.Begin(blocks)
	for n := range block.Number(blocks) {
		b.Change(n, []merge.Range{{Off: 0, Len: 1}}, []byte{1})
	}
	b.end(1, 0)
	r, err := decodeRecord(b.bytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	home := &endless{}
	a := &applier{home: home, size: block.MaxSize, blocks: map[block.Number][]byte{}}
	if err := a.commit(r); err != nil {
		t.Fatal(err)
	}
	if err := a.flush(); err != nil {
		t.Fatal(err)
	}
	if home.most > applyBytes || a.bytes != int64(blocks)*int64(block.MaxSize) {
		t.Errorf("%d bytes were kept in memory, expected at most %d; %d bytes came home", home.most, applyBytes, a.bytes)
	}
}
