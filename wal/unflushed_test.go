package wal

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/varvefs/varve/blockcache"
)

// TestOpen_UnflushedLog: a process ends between the write of an epoch and its flush. The next one finds the epoch in
// the page cache and applies it; if the power goes then, home may keep what was applied, and the log may lose the
// epoch. Nothing of an epoch is home then that the log does not have.
func TestOpen_UnflushedLog(t *testing.T) {
	var trace blockcache.Trace
	f := newFixture()
	dev := blockcache.NewFaulty(blockcache.Record(f.dev, &trace, 0))
	home := blockcache.Record(f.home, &trace, 1)
	l, _, err := Open(dev, home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	f.put(l, 1, 1)
	mustSync(t, l)
	f.put(l, 1, 2)
	f.put(l, 2, 2)
	dev.Fail(blockcache.FlushError, 0, true)
	if err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the flush: %v", err)
	}
	l.Abandon()
	first := len(trace.Events())
	l, _, err = Open(dev, home, size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	l.Abandon()
	events := trace.Events()
	for end := first; end <= len(events); end++ {
		var log, image []byte
		image = make([]byte, 16<<10)
		for _, e := range events[:end] {
			covered := func(f blockcache.Event) bool { return f.Covers(e) }
			switch {
			case e.Data == nil:
			case e.Device == 1: // home's own cache writes when it likes
				image = e.Apply(image, nil)
			case slices.ContainsFunc(events[:end], covered):
				log = e.Apply(log, nil)
			}
		}
		after := &fixture{dev: blockcache.NewRAM(log), home: blockcache.NewRAM(image), opts: f.opts}
		l, rec := after.open(t)
		l.Abandon()
		if a, b := after.at(1), after.at(2); a != uint64(rec.Last)-b/2 || b == 2 && a != 2 || a == 2 && b != 2 {
			t.Errorf("cut after %d requests of recovery: recovered to %d, with %d and %d", end-first, rec.Last, a, b)
		}
	}
}
