package blockcache

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"time"
)

// lateSync runs a Sync of an overlay that meets another one, and returns what is durable in the overlay's file when it has returned.
func lateSync(t *testing.T) []byte {
	t.Helper()
	tr, g := &Trace{}, &gate{Writable: NewRAM(nil)}
	o, _, err := OpenOverlayOn(Record(g, tr, 0), Memory(make([]byte, 64<<10)), [64]byte{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt(bytes.Repeat([]byte{7}, overlayBlock), 8192); err != nil {
		t.Fatal(err)
	}
	first := g.holdSync()
	ended := make(chan error, 2)
	go func() { ended <- o.Sync() }()
	<-first.entered
	second := make(chan []byte, 1)
	go func() {
		ended <- o.Sync()
		second <- durable(tr)
	}()
	select {
	case img := <-second: // it did not wait for the first
		close(first.leave)
		return img
	case <-time.After(20 * time.Millisecond):
	}
	close(first.leave)
	img := <-second
	for range 2 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// reopened reads a block of the overlay that an image of its file holds.
func reopened(t *testing.T, img []byte, offset int64) byte {
	t.Helper()
	o, fresh, err := OpenOverlayOn(NewRAM(bytes.Clone(img)), Memory(make([]byte, 64<<10)), [64]byte{}, 0)
	if err != nil || fresh {
		t.Fatalf("open again: fresh %v, %v", fresh, err)
	}
	p := make([]byte, 1)
	if _, err := o.ReadAt(p, offset); err != nil {
		t.Fatal(err)
	}
	return p[0]
}

// TestOverlay_SyncMeetsSync: a Sync that meets another one returns when its caller's writes are durable, the map's bits included.
func TestOverlay_SyncMeetsSync(t *testing.T) {
	if got := reopened(t, lateSync(t), 8192); got != 7 {
		t.Errorf("after the second Sync returned and the power went, the block reads %d", got)
	}
}

// TestOverlay_SyncError: every Sync that meets a failed one, and every later one, fails.
func TestOverlay_SyncError(t *testing.T) {
	g := &gate{Writable: NewRAM(nil)}
	o, _, err := OpenOverlayOn(g, Memory(make([]byte, 64<<10)), [64]byte{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	g.syncErr = syscall.EIO
	first := g.holdSync()
	ended := make(chan error, 2)
	go func() { ended <- o.Sync() }()
	<-first.entered
	go func() { ended <- o.Sync() }()
	time.Sleep(5 * time.Millisecond)
	g.mu.Lock()
	g.syncErr = nil // Linux reports it once
	g.mu.Unlock()
	close(first.leave)
	for range 2 {
		if err := <-ended; !errors.Is(err, syscall.EIO) {
			t.Errorf("a Sync that met the failed one returned %v", err)
		}
	}
	if err := o.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a later Sync returned %v", err)
	}
}
