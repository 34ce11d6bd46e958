package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

const size = block.Size(1024)

type fixture struct {
	dev, home *blockcache.RAM
	opts      Options
	seq       block.Seq
}

func newFixture() *fixture {
	return &fixture{dev: blockcache.NewRAM(nil), home: blockcache.NewRAM(make([]byte, 16<<10)),
		opts: Options{Policy: OnDemand, SegmentSize: 4096, Gather: 2048, Identity: Identity{7}}}
}

func (f *fixture) open(t testing.TB) (*Log, Recovery) {
	t.Helper()
	l, rec, err := Open(f.dev, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	f.seq = rec.Last
	return l, rec
}

// put appends a commit that writes v at the beginning of block n.
func (f *fixture) put(l *Log, n block.Number, v uint64) {
	f.seq++
	var r Record
	r.Begin(1)
	data := binary.LittleEndian.AppendUint64(nil, v)
	r.Change(n, []merge.Range{{Off: 0, Len: 8}}, data)
	l.Append(&r, f.seq)
}

func (f *fixture) at(n block.Number) uint64 {
	return binary.LittleEndian.Uint64(f.home.Bytes()[size.Offset(n):])
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestOpen_WholeEpochsOnly: what an epoch record ends is recovered, the rest is dropped and counted (W5).
func TestOpen_WholeEpochsOnly(t *testing.T) {
	f := newFixture()
	l, rec := f.open(t)
	if !rec.Fresh {
		t.Error("a new log is not reported as one")
	}
	f.put(l, 1, 5)
	f.put(l, 1, 6)
	mustSync(t, l)
	f.put(l, 1, 7)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if l.Durable() != 2 {
		t.Errorf("durable to %d after a flush, want 2 (E1)", l.Durable())
	}
	l.Abandon()
	_, rec = f.open(t)
	if f.at(1) != 6 || rec.Last != 2 || rec.Dropped != 1 || rec.Epochs != 1 {
		t.Errorf("block has %d, recovery %+v", f.at(1), rec)
	}
}

// TestOpen_Recycles: segments are used again, and what earlier lives left in them is not taken for new.
func TestOpen_Recycles(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	for i := range uint64(2000) {
		f.put(l, block.Number(i%16), i)
		if i%50 == 49 {
			mustSync(t, l)
			last := f.seq
			l.Abandon()
			if l, _ = f.open(t); f.seq != last {
				t.Fatalf("recovered to %d, want %d", f.seq, last)
			}
		}
		if i%20 == 19 {
			mustSync(t, l)
			if err := l.Truncate(f.seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := f.dev.Size(); n > 12*4096+controlArea {
		t.Errorf("the log grew to %d bytes", n)
	}
	for n := range uint64(16) {
		if got, want := f.at(block.Number(n)), 1984+n; got != want {
			t.Errorf("block %d has %d, want %d", n, got, want)
		}
	}
}

// TestOpen_Refuses: logs that are not this image's, not of this format, or damaged as no crash damages. Nothing is
// changed.
func TestOpen_Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fixture, log []byte)
		want  error
		says  string
	}{
		"another image": {func(f *fixture, _ []byte) { f.opts.Identity = Identity{8} }, ErrForeign, "own log"},
		"another size": {func(f *fixture, _ []byte) { f.home = blockcache.NewRAM(make([]byte, 32<<10)) },
			ErrForeign, "bytes"},
		"a newer format": {func(_ *fixture, b []byte) { b[8], b[controlSize+8] = 2, 2 }, ErrNewer, "newer varve"},
		"no log at all": {func(_ *fixture, b []byte) { copy(b, "PNG"); copy(b[controlSize:], "PNG") }, ErrCorrupt,
			"no log of varve"},
		"both controls": {func(_ *fixture, b []byte) { b[20] ^= 1; b[controlSize+20] ^= 1 }, ErrCorrupt,
			"control"},
		"a middle record": {func(_ *fixture, b []byte) { b[controlArea+headerSize+20] ^= 1 }, ErrCorrupt,
			"flushed beyond"},
		"a middle segment":         {func(_ *fixture, b []byte) { b[controlArea+4096+5] ^= 1 }, ErrCorrupt, "flushed beyond"},
		"the end record's padding": {func(_ *fixture, b []byte) { b[controlArea+300] ^= 1 }, ErrCorrupt, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			l, _ := f.open(t)
			for i := range uint64(200) {
				f.put(l, block.Number(i%16), i)
				if i%10 == 9 {
					mustSync(t, l)
				}
			}
			l.Abandon()
			log := f.dev.Bytes()
			c.spoil(f, log)
			f.dev = blockcache.NewRAM(bytes.Clone(log))
			home := f.home.Bytes()
			_, _, err := Open(f.dev, f.home, size, f.opts)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
			if !bytes.Equal(f.dev.Bytes(), log) || !bytes.Equal(f.home.Bytes(), home) {
				t.Error("something was changed")
			}
		})
	}
}

// TestLog_FailedFlushIsFinal: a failed fdatasync is never tried again as if it had worked.
func TestLog_FailedFlushIsFinal(t *testing.T) {
	for _, fault := range []blockcache.Fault{blockcache.FlushError, blockcache.WriteError, blockcache.ShortWrite,
		blockcache.NoSpace} {
		f := newFixture()
		dev := blockcache.NewFaulty(f.dev)
		l, _, err := Open(dev, f.home, size, f.opts)
		if err != nil {
			t.Fatal(err)
		}
		f.put(l, 1, 5)
		mustSync(t, l)
		dev.Fail(fault, 0, true) // once: the next call would succeed
		f.put(l, 1, 6)
		if err := l.Sync(); err == nil {
			t.Errorf("%v: the sync succeeded", fault)
		}
		f.put(l, 1, 7)
		if err := l.Sync(); err == nil || l.Durable() != 1 {
			t.Errorf("%v: tried again, durable to %d", fault, l.Durable())
		}
		l.Abandon()
		if _, rec := f.open(t); rec.Last < 1 {
			t.Errorf("%v: lost what was durable", fault)
		}
	}
}

// TestLog_TooLarge: a record that no segment takes is refused.
func TestLog_TooLarge(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	defer l.Abandon()
	f.seq++
	var r Record
	r.Begin(8)
	for n := range block.Number(8) {
		r.Change(n, []merge.Range{{Off: 0, Len: uint32(size)}}, make([]byte, size))
	}
	l.Append(&r, f.seq)
	if err := l.Sync(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

// FuzzRecovery opens logs of arbitrary bytes: an error or a recovery, never a panic, and never more memory than the
// log has.
func FuzzRecovery(f *testing.F) {
	x := newFixture()
	l, _ := x.open(f)
	for i := range uint64(30) {
		x.put(l, block.Number(i%16), i)
		if i%7 == 0 {
			mustSync(f, l)
		}
	}
	mustSync(f, l)
	l.Abandon()
	good := x.dev.Bytes()
	f.Add(0, []byte{1})
	f.Add(controlArea, []byte("varveSEG"))
	f.Add(controlArea+headerSize, []byte{1, 2, 3, 4, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		if at < 0 || at >= len(good) {
			return
		}
		b := bytes.Clone(good)
		copy(b[at:], patch)
		y := newFixture()
		if l, _, err := Open(blockcache.NewRAM(b), y.home, size, y.opts); err == nil {
			l.Abandon()
		}
	})
}

// FuzzRecord decodes arbitrary bytes with a checksum that is right.
func FuzzRecord(f *testing.F) {
	var r Record
	r.Begin(1)
	r.Change(3, []merge.Range{{Off: 8, Len: 4}}, make([]byte, 16))
	f.Add(r.bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < recordHeader || len(b) > maxRecord {
			return
		}
		endRecord(b, 5)
		r, err := decodeRecord(b, 5)
		if err != nil || r.kind != typeCommit {
			return
		}
		r.changes(size, func(_ block.Number, off uint32, data []byte) {
			if int(off)+len(data) > int(size) {
				t.Fatalf("a range of %d bytes at %d", len(data), off)
			}
		})
	})
}

func BenchmarkAppend(b *testing.B) {
	f := newFixture()
	f.opts.SegmentSize = 4 << 20
	l, _ := f.open(b)
	defer l.Abandon()
	var rec Record
	rec.Begin(1)
	rec.Change(1, []merge.Range{{Off: 0, Len: 32}}, make([]byte, 32))
	b.ReportAllocs()
	for b.Loop() {
		rec.end(1, l.salt)
	}
}

// slow is a device whose flushes take a while, so that waiters gather.
type slow struct{ *blockcache.RAM }

func (s slow) Sync() error {
	time.Sleep(20 * time.Microsecond)
	return nil
}

// TestWait_AllReturn: every waiter is served, however appending, waiting and flushing interleave.
func TestWait_AllReturn(t *testing.T) {
	f := newFixture()
	f.opts.SegmentSize = 1 << 20
	l, _, err := Open(slow{f.dev}, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abandon()
	var mu sync.Mutex
	var wg sync.WaitGroup
	const waiters, each = 48, 1500
	var returned atomic.Int64
	for i := range waiters {
		wg.Go(func() {
			for k := range each {
				mu.Lock()
				f.put(l, block.Number(i%16), uint64(k))
				mine := f.seq
				mu.Unlock()
				if k%3 == i%3 {
					runtime.Gosched()
				}
				if err := l.Wait(context.Background(), mine); err != nil {
					t.Error(err)
					return
				}
				if l.Durable() < mine {
					t.Errorf("returned at %d, before %d is durable", l.Durable(), mine)
				}
				returned.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for last := int64(-1); ; {
		select {
		case <-done:
			return
		case <-time.After(time.Minute):
			if n := returned.Load(); n == last {
				t.Fatalf("no waiter has returned for a minute; %d of %d did", n, waiters*each)
			} else {
				last = n
			}
		}
	}
}

// gated is a device whose flushes wait to be let through.
type gated struct {
	*blockcache.RAM
	asked, let chan struct{}
}

func (g gated) Sync() error {
	select {
	case g.asked <- struct{}{}:
		<-g.let
	default:
	}
	return nil
}

// TestWait_TurnIsPassedOn: a waiter that is woken to lead, and finds that the epoch that just ended held its commit,
// wakes the next one.
func TestWait_TurnIsPassedOn(t *testing.T) {
	f := newFixture()
	g := gated{f.dev, make(chan struct{}), make(chan struct{})}
	l, _, err := Open(g, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abandon()
	results := make(chan error, 3)
	wait := func(seq block.Seq) { go func() { results <- l.Wait(context.Background(), seq) }() }
	f.put(l, 1, 1)
	f.put(l, 1, 2)
	wait(1)
	<-g.asked // the first leads, with both records in its epoch
	wait(2)
	time.Sleep(20 * time.Millisecond) // so that it is the first to be woken
	f.put(l, 1, 3)
	wait(3)
	time.Sleep(20 * time.Millisecond)
	g.let <- struct{}{}
	for range 3 {
		select {
		case err := <-results:
			if err != nil {
				t.Error(err)
			}
		case <-g.asked:
			g.let <- struct{}{}
			if err := <-results; err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a waiter waits for ever")
		}
	}
}
