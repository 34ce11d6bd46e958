package wal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

// capped is a device of which the file system below has no more room.
type capped struct {
	*blockcache.RAM
	limit int64
}

func (c *capped) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.limit {
		return 0, syscall.ENOSPC
	}
	return c.RAM.WriteAt(p, off)
}

// TestLog_NoRoom: a log that cannot grow says so, loses nothing, and goes on when there is room.
func TestLog_NoRoom(t *testing.T) {
	f := newFixture()
	d := &capped{RAM: f.dev, limit: controlArea + 2*4096}
	l, _, err := Open(d, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for err == nil && n < 1000 {
		n++
		f.put(l, 1, n)
		err = l.Sync()
	}
	if !errors.Is(err, ErrNoRoom) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d commits: %v, want ErrNoRoom", n, err)
	}
	if l.Err() != nil {
		t.Fatalf("the log has ended: %v", l.Err())
	}
	n++
	f.put(l, 1, n)
	if err := l.Flush(); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("still no room: %v", err)
	}
	d.limit = 1 << 20
	mustSync(t, l)
	l.Abandon()
	_, rec := f.open(t)
	if f.at(1) != n || rec.Commits != int(n) {
		t.Errorf("recovered %d of %d commits, the block has %d", rec.Commits, n, f.at(1))
	}
}

// TestOpen_StaleEnd: every prefix of what was written to a log of equal-sized commits is recovered, also where a
// recycled segment has the end record of its former life at the very place where the log ends.
func TestOpen_StaleEnd(t *testing.T) {
	if states, why := staleEnds(t); why != "" {
		t.Errorf("%d prefixes: %s", states, why)
	}
}

func staleEnds(t *testing.T) (states int, why string) {
	t.Helper()
	f := newFixture()
	tr := &blockcache.Trace{}
	l, _, err := Open(blockcache.Record(f.dev, tr, 0), f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(400) {
		f.put(l, 1, i)
		mustSync(t, l)
		if i%30 == 29 {
			if err := l.Truncate(f.seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Abandon()
	var img []byte
	for _, e := range tr.Events() {
		if e.Flush() {
			continue
		}
		img = e.Apply(img, nil)
		states++
		again := &fixture{
			dev:  blockcache.NewRAM(append([]byte(nil), img...)),
			home: blockcache.NewRAM(make([]byte, 16<<10)),
			opts: f.opts,
		}
		l, _, err := Open(again.dev, again.home, size, again.opts)
		if err != nil {
			return states, err.Error()
		}
		l.Abandon()
	}
	return states, ""
}

// TestOpen_SegmentSize: sizes that no segment can have are refused by name.
func TestOpen_SegmentSize(t *testing.T) {
	for _, n := range []int64{1, 4095, 5000, 4097, 1 << 40, -4096} {
		f := newFixture()
		f.opts.SegmentSize = n
		if _, _, err := Open(f.dev, f.home, size, f.opts); err == nil {
			t.Errorf("segment size %d was taken", n)
		}
		if f.dev.Size() != 0 {
			t.Errorf("segment size %d: something was written", n)
		}
	}
}

// TestOpen_ForeignEnd: a segment that follows another segment than the one before it is damage, and nothing is
// changed.
func TestOpen_ForeignEnd(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	for i := range uint64(200) {
		f.put(l, 1, i)
		mustSync(t, l)
	}
	l.Abandon()
	img := f.dev.Bytes()
	var h header // of the newest segment: the others' are covered by later digests, too
	var place int
	for at := controlArea; at < len(img); at += 4096 {
		if other, ok := decodeHeader(img[at:]); ok && other.number >= h.number {
			h, place = other, at
		}
	}
	if h.number < 2 {
		t.Fatal("there is no second segment")
	}
	h.before[0] ^= 1
	copy(img[place:], h.encode())
	_, _, err := Open(blockcache.NewRAM(img), f.home, size, f.opts)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v, want ErrCorrupt", err)
	}
}

// TestWait_Context: a wait ends with its context, and the others go on.
func TestWait_Context(t *testing.T) {
	f := newFixture()
	d := &slowSync{Writable: f.dev, enter: make(chan struct{}), leave: make(chan struct{})}
	l, _, err := Open(d, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	d.slow = true
	f.put(l, 1, 1)
	leader := make(chan error, 1)
	go func() { leader <- l.Wait(context.Background(), 1) }()
	<-d.enter
	f.put(l, 1, 2)
	ctx, cancel := context.WithCancel(context.Background())
	late := make(chan error, 1)
	go func() { late <- l.Wait(ctx, 2) }()
	cancel()
	patience := time.Minute
	if os.Getenv("VARVE_MUTANT") != "" { // it will go on
		patience = time.Second
	}
	select {
	case err := <-late:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled wait returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a cancelled wait goes on")
	}
	d.slow = false
	close(d.leave)
	if err := <-leader; err != nil {
		t.Error(err)
	}
	if err := l.Wait(context.Background(), 2); err != nil || l.Durable() != block.Seq(2) {
		t.Errorf("durable to %d, %v", l.Durable(), err)
	}
	l.Abandon()
	l.Abandon() // and Close after it: both do nothing
	_ = l.Close()
}

// slowSync is a device whose Syncs wait.
type slowSync struct {
	blockcache.Writable
	slow         bool
	enter, leave chan struct{}
}

func (s *slowSync) Sync() error {
	if s.slow {
		s.enter <- struct{}{}
		<-s.leave
	}
	return s.Writable.Sync()
}

// TestOpen_SmallerBound: a log that has more segments than the options allow now, all of them in use, is opened, and
// is used again from there.
func TestOpen_SmallerBound(t *testing.T) {
	f := newFixture()
	l, _ := f.open(t)
	for i := range uint64(1500) {
		f.put(l, 1, i)
		mustSync(t, l)
	}
	l.Abandon()
	f.opts.MaxBytes = 1
	l, rec := f.open(t)
	defer l.Abandon()
	if rec.Last != 1500 || f.at(1) != 1499 {
		t.Errorf("recovered to %d, the block has %d", rec.Last, f.at(1))
	}
	f.put(l, 1, 7)
	mustSync(t, l)
}

// fill opens a log on a device of a few places, and appends and syncs until there is no room.
func (f *fixture) fill(t *testing.T, d *capped) *Log {
	t.Helper()
	l, rec, err := Open(d, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	f.seq = rec.Last
	for v := uint64(1); l.Fits(putSize); v++ {
		f.put(l, 1, v)
		mustSync(t, l)
	}
	return l
}

// putSize is at least how long the records of put are.
const putSize = 64

// TestOpen_AllPlacesUsed: a log whose segments are all in use is opened on a device without room, also after a crash
// in the middle of that, and goes on.
func TestOpen_AllPlacesUsed(t *testing.T) {
	f := newFixture()
	d := &capped{RAM: f.dev, limit: controlArea + 3*4096}
	l := f.fill(t, d)
	if l.Truncate(0) != nil || len(l.segs.live) != 3 {
		t.Fatalf("%d segments are in use", len(l.segs.live))
	}
	want := uint64(f.seq)
	l.Abandon()
	tr := &blockcache.Trace{}
	start, home := bytes.Clone(f.dev.Bytes()), bytes.Clone(f.home.Bytes())
	l, rec, err := Open(blockcache.Record(d, tr, 0), f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Last != f.seq || f.at(1) != want {
		t.Errorf("recovered to %d of %d, the block has %d", rec.Last, f.seq, f.at(1))
	}
	f.put(l, 1, 7)
	mustSync(t, l)
	l.Abandon()
	img := start
	for i, e := range tr.Events() {
		again := &fixture{dev: blockcache.NewRAM(bytes.Clone(img)), home: blockcache.NewRAM(bytes.Clone(home)), opts: f.opts}
		l, rec, err := Open(&capped{again.dev, d.limit}, again.home, size, again.opts)
		if err != nil {
			t.Fatalf("after %d events: %v", i, err)
		}
		l.Abandon()
		later := rec.Last == f.seq && again.at(1) == 7 // the commit after it was opened
		if !later && (rec.Last != f.seq-1 || again.at(1) != want) {
			t.Errorf("after %d events: recovered to %d, the block has %d", i, rec.Last, again.at(1))
		}
		if !e.Flush() && e.Offset < d.limit { // the device refused what lies beyond
			img = e.Apply(img, nil)
		}
		home = f.home.Bytes()
	}
}

// TestLog_SpareRoom: on a device without room, what was appended while it fits becomes durable, and a checkpoint then
// makes room, again and again.
func TestLog_SpareRoom(t *testing.T) {
	f := newFixture()
	d := &capped{RAM: f.dev, limit: controlArea + 3*4096}
	l, _, err := Open(d, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { l.Abandon() }()
	for round := range 50 {
		n := 0
		for ; l.Fits(putSize); n++ {
			f.put(l, 1, uint64(n))
			if n%7 == 0 {
				mustSync(t, l)
			}
		}
		if n < 10 {
			t.Fatalf("round %d: room for %d commits", round, n)
		}
		mustSync(t, l)
		if l.NoRoom() == nil {
			t.Errorf("round %d: the device's error is not reported", round)
		}
		if round%5 == 4 {
			l.Abandon()
			if l, _, err = Open(d, f.home, size, f.opts); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := l.Truncate(f.seq); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpen_NoRoomForTwo: a device without room for a segment and a spare one is refused when the log is made.
func TestOpen_NoRoomForTwo(t *testing.T) {
	f := newFixture()
	if _, _, err := Open(&capped{f.dev, controlArea + 4096}, f.home, size, f.opts); !errors.Is(err, ErrNoRoom) {
		t.Errorf("opened: %v, want ErrNoRoom", err)
	}
}

// TestOptions_Spare: what a log takes when it is made does not grow with how much it may gather in memory.
func TestOptions_Spare(t *testing.T) {
	f := newFixture()
	f.opts.Gather, f.opts.MaxBytes = 1<<40, 1<<40
	l, _ := f.open(t)
	l.Abandon()
	if n := f.dev.Size(); n > controlArea+maxSpare+2*4096 {
		t.Errorf("a new log has %d bytes", n)
	}
}

// TestLog_FitsBound: what Fits allows without the lock is never more than the plan of the log has room for, and is all
// of it while the log has places.
func TestLog_FitsBound(t *testing.T) {
	f := newFixture()
	d := &capped{RAM: f.dev, limit: controlArea + 4*4096}
	l, _, err := Open(d, f.home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abandon()
	most := l.Largest() - epochLength
	byBound, refused := 0, 0
	for round := range 400 {
		for _, n := range []int{1, putSize, 700, 2000, most} {
			p := l.plan
			p.addCommit(int64(n), l.segs.length)
			exact := p.number <= l.limit
			bound := int64(n)+epochLength <= l.room.Load()
			if bound && !exact {
				t.Fatalf("round %d: the bound of %d bytes allows a record of %d, and there is no place", round, l.room.Load(), n)
			}
			if l.Fits(n) != exact {
				t.Fatalf("round %d: Fits(%d) is %v, and the plan says %v", round, n, !exact, exact)
			}
			if bound {
				byBound++
			}
			if !exact {
				refused++
			}
		}
		if !l.Fits(putSize) {
			mustSync(t, l)
			if err := l.Truncate(f.seq); err != nil {
				t.Fatal(err)
			}
		}
		f.put(l, 1, uint64(round))
		if round%9 == 0 {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if byBound < 1000 || refused == 0 {
		t.Errorf("%d times the bound was enough, and %d records had no place", byBound, refused)
	}
}
