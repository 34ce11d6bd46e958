package blockcache

import (
	"bytes"
	"errors"
	"io"
	"math"
	"sync"
	"syscall"
	"testing"
)

// TestMemory_Bounds: a read past the end is short and says EOF; one outside has nothing.
func TestMemory_Bounds(t *testing.T) {
	m := Memory("0123456789")
	for _, c := range []struct {
		off  int64
		n    int
		want string
		err  error
	}{
		{0, 10, "0123456789", nil}, {0, 0, "", nil}, {9, 1, "9", nil}, {8, 5, "89", io.EOF}, {10, 1, "", io.EOF},
		{-1, 1, "", io.EOF}, {math.MaxInt64, 1, "", io.EOF},
	} {
		p := make([]byte, c.n)
		if n, err := m.ReadAt(p, c.off); string(p[:n]) != c.want || err != c.err {
			t.Errorf("%d bytes at %d: %q, %v; want %q, %v", c.n, c.off, p[:n], err, c.want, c.err)
		}
	}
}

// TestWritableWindow_Bounds: nothing is written outside of the window, at any offset.
func TestWritableWindow_Bounds(t *testing.T) {
	ram := NewRAM(make([]byte, 4096))
	below, err := NewWindow(Memory(make([]byte, 4096)), 1024, 1024)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWritableWindow(ram, below)
	for _, c := range []struct {
		off int64
		n   int
		ok  bool
	}{
		{0, 1024, true}, {1023, 1, true}, {1024, 0, true}, {512, 100, true},
		{1024, 1, false}, {-1, 1, false}, {0, 1025, false}, {1000, 25, false}, {math.MaxInt64, 1, false},
		{math.MinInt64, 1, false},
	} {
		if n, err := w.WriteAt(bytes.Repeat([]byte{7}, c.n), c.off); (err == nil) != c.ok || c.ok && n != c.n {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	img := ram.Bytes()
	if len(img) != 4096 || bytes.Count(img[:1024], []byte{0}) != 1024 || bytes.Count(img[2048:], []byte{0}) != 2048 {
		t.Error("bytes outside of the window have changed")
	}
	if p := make([]byte, 2); true {
		if n, err := w.ReadAt(p, 1023); n != 1 || err != io.EOF || p[0] != 7 {
			t.Errorf("a read over the window's end: %d, %v, %v", n, err, p)
		}
	}
}

// TestFaulty_Faults: each fault does what its name says, after as many calls as asked, and once or for ever.
func TestFaulty_Faults(t *testing.T) {
	read := func(f *Faulty) (string, error) {
		p := make([]byte, 4)
		n, err := f.ReadAt(p, 0)
		return string(p[:n]), err
	}
	write := func(f *Faulty) (string, error) {
		n, err := f.WriteAt([]byte("abcd"), 0)
		return string("abcd"[:n]), err
	}
	sync := func(f *Faulty) (string, error) { return "", f.Sync() }
	for _, c := range []struct {
		fault  Fault
		call   func(*Faulty) (string, error)
		good   string
		bad    string
		err    error
		others []func(*Faulty) (string, error)
	}{
		{ReadError, read, "0123", "", syscall.EIO, []func(*Faulty) (string, error){write, sync}},
		{FlippedBit, read, "0123", "01\"3", nil, []func(*Faulty) (string, error){sync}},
		{WriteError, write, "abcd", "", syscall.EIO, []func(*Faulty) (string, error){read, sync}},
		{ShortWrite, write, "abcd", "ab", syscall.EIO, []func(*Faulty) (string, error){read, sync}},
		{NoSpace, write, "abcd", "", syscall.ENOSPC, []func(*Faulty) (string, error){read, sync}},
		{FlushError, sync, "", "", syscall.EIO, []func(*Faulty) (string, error){read, write}},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			for _, once := range []bool{true, false} {
				f := NewFaulty(NewRAM([]byte("0123456789")))
				f.Fail(c.fault, 2, once)
				for range 2 {
					if got, err := c.call(f); got != c.good || err != nil {
						t.Fatalf("before the fault: %q, %v", got, err)
					}
				}
				for _, other := range c.others {
					if _, err := other(f); err != nil {
						t.Errorf("a call that the fault does not concern: %v", err)
					}
				}
				if _, err := NewFaulty(f.Writable).WriteAt([]byte("0123"), 0); err != nil {
					t.Fatal(err)
				}
				if got, err := c.call(f); got != c.bad || !errors.Is(err, c.err) {
					t.Errorf("the fault: %q, %v; want %q, %v", got, err, c.bad, c.err)
				}
				got, err := c.call(f)
				if failed := got != c.good && got != "ab23" || err != nil; failed == once {
					t.Errorf("once %v: after the fault %q, %v", once, got, err)
				}
			}
		})
	}
}

// TestRAM_Concurrent: a device in memory grows under concurrent writers and readers, and keeps what each wrote.
func TestRAM_Concurrent(t *testing.T) {
	r := NewRAM(nil)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			p := make([]byte, 16)
			for i := range 100 {
				off := int64((i*8 + w) * 16)
				if _, err := r.WriteAt(bytes.Repeat([]byte{byte(w + 1)}, 16), off); err != nil {
					t.Error(err)
				}
				if n, err := r.ReadAt(p, off); n != 16 || err != nil || p[15] != byte(w+1) {
					t.Errorf("%d bytes, %v, %v", n, err, p)
				}
			}
		})
	}
	wg.Wait()
	if r.Size() != 8*100*16 || bytes.Count(r.Bytes(), []byte{0}) != 0 {
		t.Errorf("%d bytes, %d of them zero", r.Size(), bytes.Count(r.Bytes(), []byte{0}))
	}
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestEvent_Apply: an event's write makes an image grow, and may be torn at sectors alone.
func TestEvent_Apply(t *testing.T) {
	data := bytes.Repeat([]byte{1}, 1000)
	e := Event{Offset: 100, Data: data}
	if img := e.Apply(nil, nil); len(img) != 1100 || bytes.Count(img, []byte{1}) != 1000 {
		t.Errorf("whole: %d bytes, %d of them written", len(img), bytes.Count(img, []byte{1}))
	}
	// The write touches sectors 0, 1 and 2 of the device: 412, 512 and 76 bytes.
	for keep, want := range map[int]int{0: 412, 1: 512, 2: 76, 3: 0} {
		img := e.Apply(make([]byte, 2000), func(i int) bool { return i == keep })
		if n := bytes.Count(img, []byte{1}); n != want || len(img) != 2000 {
			t.Errorf("sector %d alone: %d bytes written, want %d", keep, n, want)
		}
	}
}

// TestRecording_Order: a trace has the writes, flushes and notes of its devices in order; a flush covers the writes of
// its own device that returned before it.
func TestRecording_Order(t *testing.T) {
	tr := &Trace{}
	a, b := Record(NewRAM(nil), tr, 1), NewFaulty(NewRAM(nil))
	rb := Record(b, tr, 2)
	p := []byte("one")
	for _, step := range []func() error{
		func() error { _, err := a.WriteAt(p, 0); return err },
		func() error { _, err := rb.WriteAt(p, 5); return err },
		a.Sync,
		func() error { tr.Note("promise"); return nil },
		func() error { _, err := a.WriteAt(p, 9); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	p[0] = 'X' // the trace has a copy
	b.Fail(FlushError, 0, true)
	if err := rb.Sync(); err == nil {
		t.Fatal("the flush of the second device succeeded")
	}
	es := tr.Events()
	if len(es) != 5 || string(es[0].Data) != "one" || es[1].Device != 2 || !es[2].Flush() || es[3].Mark != "promise" ||
		es[3].Flush() {
		t.Fatalf("%+v", es)
	}
	for i, want := range []bool{true, false, false, false, false} {
		if got := es[2].Covers(es[i]); got != want {
			t.Errorf("the flush covers event %d: %v, want %v", i, got, want)
		}
	}
	if es[0].Covers(es[1]) || es[3].Covers(es[0]) {
		t.Error("a write or a note covers a write")
	}
}
