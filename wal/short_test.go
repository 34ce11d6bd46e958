package wal

import (
	"bytes"
	"testing"

	"github.com/varvefs/varve/blockcache"
)

// TestOpen_ShortDevice cuts the zeros off the end of a log: a crash while the log grows leaves the records of its last
// place, and not the zeros that had made the place whole. Each recovery ends where the records do, and the place is
// whole again.
func TestOpen_ShortDevice(t *testing.T) {
	for _, commits := range []int{1, 30, 90, 200} {
		f := newFixture()
		l, _ := f.open(t)
		for range commits {
			f.put(l, 1, uint64(f.seq)+1)
			mustSync(t, l)
		}
		last := f.seq
		l.Abandon()
		whole := bytes.Clone(f.dev.Bytes())
		used := len(bytes.TrimRight(whole, "\x00"))
		f.dev = blockcache.NewRAM(bytes.Clone(whole[:used]))
		l, rec := f.open(t)
		l.Abandon()
		if rec.Last != last {
			t.Errorf("%d commits, a device of %d bytes instead of %d: recovery ends at %d, want %d",
				commits, used, len(whole), rec.Last, last)
		}
		segment := int64(l.ctl.segment)
		if rest := (f.dev.Size() - controlArea) % segment; rest != 0 {
			t.Errorf("%d commits: the last place has %d bytes of %d", commits, rest, segment)
		}
	}
}
