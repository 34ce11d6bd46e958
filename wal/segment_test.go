package wal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// putBytes appends a commit whose record has exactly so many bytes.
func (f *fixture) putBytes(t *testing.T, l *Log, length int) {
	t.Helper()
	f.seq++
	var r Record
	for total := length; ; total-- { // varints take a byte or two
		r.Begin(8)
		left := total - recordHeader - 1
		for n := range block.Number(8) {
			k := min(left/(8-int(n)), int(size))
			r.Change(n, []merge.Range{{Off: 0, Len: uint32(max(k-5, 0))}}, make([]byte, size))
			left = total - r.Len()
		}
		if r.Len() <= length {
			break
		}
	}
	r.bytes = append(r.bytes, make([]byte, length-r.Len())...) // recovery is not asked
	l.Append(&r, f.seq)
}

// TestLog_Largest: a record of Largest bytes is written, and one of a byte more refused.
func TestLog_Largest(t *testing.T) {
	for extra, want := range []error{nil, ErrTooLarge} {
		f := newFixture()
		l, _ := f.open(t)
		f.putBytes(t, l, l.Largest()+extra)
		if err := l.Sync(); !errors.Is(err, want) {
			t.Errorf("%d bytes more than Largest: %v, want %v", extra, err, want)
		}
		l.Abandon()
	}
}

// TestLog_Places: the log takes places as it grows, gives them back where their commits are home, and takes those
// again.
func TestLog_Places(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	defer l.Abandon()
	fill := func(commits int) {
		for i := range commits {
			f.put(l, block.Number(i%16), uint64(i))
		}
		mustSync(t, l)
	}
	fill(300)
	live, places := len(l.segs.live), l.segs.places
	if live < 3 || l.used.Load() != int64(live)*l.segs.length {
		t.Fatalf("%d live segments of %d places, %d bytes in use", live, places, l.used.Load())
	}
	if err := l.Truncate(l.segs.live[0].last); err != nil || len(l.segs.live) != live-1 {
		t.Errorf("%v; %d live segments, want one less than %d", err, len(l.segs.live), live)
	}
	if err := l.Truncate(0); err != nil || len(l.segs.live) != live-1 {
		t.Errorf("%v; %d live segments after a Truncate to nothing", err, len(l.segs.live))
	}
	if err := l.Truncate(l.Durable()); err != nil || len(l.segs.live) != 1 {
		t.Errorf("%v; %d live segments after a Truncate to the end: the one at hand stays", err, len(l.segs.live))
	}
	fill(200)
	if l.segs.places != places {
		t.Errorf("the log grew to %d places, and had %d free ones", l.segs.places, places-1)
	}
	seen := map[int]bool{}
	for _, s := range l.segs.live {
		if seen[s.place] || s.last < s.first-1 {
			t.Errorf("live segments %+v", l.segs.live)
		}
		seen[s.place] = true
	}
	for _, p := range l.segs.free {
		if seen[p] {
			t.Errorf("place %d is free and live", p)
		}
	}
}

// TestLog_Full: a log whose checkpoints never come reaches a bound, and says so.
func TestLog_Full(t *testing.T) {
	f := newFixture()
	f.opts.MaxBytes = 4 * f.opts.SegmentSize
	l, _ := f.open(t)
	defer l.Abandon()
	var err error
	for i := 0; err == nil && i < 10000; i++ {
		f.put(l, block.Number(i%16), uint64(i))
		err = l.Sync()
	}
	if !errors.Is(err, ErrFull) || !errors.Is(l.Err(), ErrFull) {
		t.Fatalf("%v; the log: %v", err, l.Err())
	}
	if most := int64(controlArea) + 4*f.opts.MaxBytes; f.dev.Size() > most {
		t.Errorf("the device has %d bytes, more than %d", f.dev.Size(), most)
	}
	if err := l.Truncate(f.seq); !errors.Is(err, ErrFull) {
		t.Errorf("Truncate after the end: %v", err)
	}
}

// TestTruncate_FailedWrite: where the control block cannot be made durable, no segment is given up.
func TestTruncate_FailedWrite(t *testing.T) {
	for _, fault := range []blockcache.Fault{blockcache.WriteError, blockcache.ShortWrite, blockcache.FlushError} {
		f := newFixture()
		dev := blockcache.NewFaulty(f.dev)
		l, _, err := Open(dev, f.home, size, f.opts)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(300) {
			f.put(l, block.Number(i%16), i)
		}
		mustSync(t, l)
		live := len(l.segs.live)
		dev.Fail(fault, 0, true)
		if err := l.Truncate(l.Durable()); err == nil || l.Err() == nil {
			t.Errorf("%v: %v, %v", fault, err, l.Err())
		}
		if len(l.segs.live) != live {
			t.Errorf("%v: %d of %d segments are live", fault, len(l.segs.live), live)
		}
		l.Abandon()
		again, rec := f.open(t)
		if rec.Last != 300 {
			t.Errorf("%v: recovered to %d", fault, rec.Last)
		}
		again.Abandon()
	}
}

// TestLog_Counts: what the log reports of itself.
func TestLog_Counts(t *testing.T) {
	f := newFixture()
	var ended []block.Epoch
	f.opts.OnEpoch = func(e block.Epoch, _ block.Seq, _ time.Duration) { ended = append(ended, e) }
	l, _ := f.open(t)
	before := l.Bytes()
	if l.Pressure() != 0 || l.Flushes() != 0 || l.Durable() != 0 {
		t.Errorf("a new log: pressure %v, %d flushes, durable %d", l.Pressure(), l.Flushes(), l.Durable())
	}
	f.put(l, 1, 1)
	if l.Pressure() == 0 || l.Bytes() != before {
		t.Errorf("a commit that gathers: pressure %v, %d bytes written", l.Pressure(), l.Bytes()-before)
	}
	mustSync(t, l)
	mustSync(t, l) // nothing to do
	if l.Flushes() != 1 || l.Bytes() == before || l.FlushTime() <= 0 || len(ended) != 1 || ended[0] != 1 {
		t.Errorf("%d flushes in %v, %d bytes, epochs %v", l.Flushes(), l.FlushTime(), l.Bytes()-before, ended)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.put(l, 1, 2)
	if err := l.Wait(context.Background(), f.seq); !errors.Is(err, ErrClosed) {
		t.Errorf("a wait after Close: %v", err)
	}
	if err := l.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("a Flush after Close: %v", err)
	}
}
