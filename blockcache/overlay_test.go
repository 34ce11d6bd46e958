package blockcache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lateSync runs a Sync of an overlay that meets another one, and returns what is durable in the overlay's file when it
// has returned.
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

// TestOverlay_SyncMeetsSync: a Sync that meets another one returns when its caller's writes are durable, the map's
// bits included.
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

// TestOverlay_Damage: a flipped bit of the header or of the map is an error that says where, and a header that was
// made up allocates nothing.
func TestOverlay_Damage(t *testing.T) {
	base := Memory(make([]byte, 1<<20))
	file := NewRAM(nil)
	o, _, err := OpenOverlayOn(file, base, [64]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt(bytes.Repeat([]byte{7}, 3*overlayBlock), overlayBlock); err != nil {
		t.Fatal(err)
	}
	if err := o.Sync(); err != nil {
		t.Fatal(err)
	}
	good := file.Bytes()
	for name, c := range map[string]struct {
		change func(b []byte)
		want   error
	}{
		"a bit of the map":   {func(b []byte) { b[overlayBlock] ^= 0x10 }, ErrOverlayDamaged},
		"the map's checksum": {func(b []byte) { b[overlayBlock+mapBytes] ^= 1 }, ErrOverlayDamaged},
		"a sector that moved": {func(b []byte) { copy(b[overlayBlock+Sector:], b[overlayBlock:][:Sector]) },
			ErrOverlayDamaged},
		"the header": {func(b []byte) { b[40] ^= 1 }, ErrNoOverlay},
		"a size": {func(b []byte) {
			copy(b, overlayHeader{baseSize: 1 << 20, size: 1 << 56, identity: [64]byte{1}}.encode())
		}, ErrNoOverlay},
		"two sizes": {func(b []byte) {
			copy(b, overlayHeader{baseSize: 1 << 56, size: 1 << 56, identity: [64]byte{1}}.encode())
		}, ErrForeign},
	} {
		b := bytes.Clone(good)
		c.change(b)
		if _, _, err := OpenOverlayOn(NewRAM(b), base, [64]byte{1}, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if got := reopenedWith(t, good, base, [64]byte{1}, 2*overlayBlock); got != 7 {
		t.Errorf("undamaged, the block reads %d", got)
	}
}

func reopenedWith(t *testing.T, img []byte, base Device, id [64]byte, offset int64) byte {
	t.Helper()
	o, _, err := OpenOverlayOn(NewRAM(img), base, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	if _, err := o.ReadAt(p, offset); err != nil {
		t.Fatal(err)
	}
	return p[0]
}

// TestOverlayMap_Pages: blocks at the ends of sectors and pages have bits of their own, and come back.
func TestOverlayMap_Pages(t *testing.T) {
	const blocks = 3 * blocksPerPage
	m := newOverlayMap(blocks)
	set := map[int64]bool{}
	for _, b := range []int64{0, 7, 8, blocksPerSector - 1, blocksPerSector, blocksPerPage - 1, blocksPerPage,
		2*blocksPerPage + 5, blocks - 1} {
		m.set(b)
		set[b] = true
	}
	var file []byte
	for page := range m.pages {
		if m.pages[page] == nil {
			file = append(file, make([]byte, overlayBlock)...)
			continue
		}
		file = append(file, m.encode(int64(page))...)
	}
	again := newOverlayMap(blocks)
	if err := again.load(bytes.NewReader(file), 0); err != nil {
		t.Fatal(err)
	}
	for b := range int64(blocks) {
		if m.has(b) != set[b] || again.has(b) != set[b] {
			t.Fatalf("block %d: %v, and %v after loading, want %v", b, m.has(b), again.has(b), set[b])
		}
	}
}

// vast is a device of any size with nothing on it, as a sparse file may be.
type vast int64

func (v vast) Size() int64                           { return int64(v) }
func (v vast) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// TestOverlay_VastBase refuses a base whose map alone would take all memory: a sparse file has any size for nothing.
func TestOverlay_VastBase(t *testing.T) {
	for _, size := range []int64{maxBase + 1, 4 << 60, 1<<63 - 1} {
		file := NewRAM(nil)
		if _, _, err := OpenOverlayOn(file, vast(size), [64]byte{}, 1<<24); err == nil || file.Size() != 0 {
			t.Errorf("%d bytes: %v, and a file of %d bytes", size, err, file.Size())
		}
	}
	if _, _, err := OpenOverlayOn(NewRAM(nil), vast(16<<40), [64]byte{}, 1<<24); err != nil {
		t.Error(err)
	}
}

// TestOverlay_CutShort: a base or an overlay's file that was cut short behind the overlay's back is an error that names
// it: its bytes are not zeros, and the overlay does not end there.
func TestOverlay_CutShort(t *testing.T) {
	dir := t.TempDir()
	image, path := filepath.Join(dir, "image"), filepath.Join(dir, "overlay")
	if err := os.WriteFile(image, bytes.Repeat([]byte{9}, 10*overlayBlock), 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := OpenFile(image)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	o, _, err := OpenOverlay(path, base, [64]byte{}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.WriteAt(bytes.Repeat([]byte{7}, 3*overlayBlock), 4*overlayBlock); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8*overlayBlock); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, o.place(5)+100); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, overlayBlock)
	for name, at := range map[string]int64{image: 8 * overlayBlock, path: 5 * overlayBlock} {
		if _, err := o.ReadAt(p, at); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), name) {
			t.Errorf("byte %d: %v, want an unexpected end of %s", at, err, name)
		}
	}
	if _, err := o.WriteAt([]byte("x"), 9*overlayBlock); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a write into a block of the base that is gone: %v", err)
	}
	err = o.EachBlock(func(int64, []byte) error { return nil })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("EachBlock: %v", err)
	}
	for _, at := range []int64{0, 4 * overlayBlock, 7 * overlayBlock} {
		if _, err := o.ReadAt(p, at); err != nil {
			t.Errorf("byte %d, which is there: %v", at, err)
		}
	}
}

// TestOverlay_HeaderUnreadable: an unreadable header is the error of the device, and not ErrNoOverlay.
func TestOverlay_HeaderUnreadable(t *testing.T) {
	base, file := Memory(make([]byte, 8192)), NewRAM(nil)
	o, _, err := OpenOverlayOn(file, base, [64]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt([]byte("x"), 0); err != nil { // the file is longer than a header
		t.Fatal(err)
	}
	device := NewFaulty(file)
	device.Fail(ReadError, 0, false)
	if _, _, err := OpenOverlayOn(device, base, [64]byte{1}, 0); !errors.Is(err, syscall.EIO) ||
		errors.Is(err, ErrNoOverlay) {
		t.Errorf("opened: %v", err)
	}
	if _, err := ReadOverlayState(device); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrNoOverlay) {
		t.Errorf("its state: %v", err)
	}
}

// unflushed is a device that another program has written to without a flush.
type unflushed struct {
	Memory
	syncs int
	err   error
}

func (u *unflushed) Sync() error { u.syncs++; return u.err }

// TestOverlay_BaseDurable: an overlay makes its base durable before it rests on it: a writer that was killed may have
// left some of it in the page cache.
func TestOverlay_BaseDurable(t *testing.T) {
	base := &unflushed{Memory: make([]byte, 64<<10)}
	window, err := NewWindow(base, 4096, 32<<10)
	if err != nil {
		t.Fatal(err)
	}
	file := NewRAM(nil)
	for n, device := range []Device{base, window} {
		file = NewRAM(nil)
		if _, _, err := OpenOverlayOn(file, device, [64]byte{}, 0); err != nil || base.syncs != n+1 {
			t.Errorf("%v; %d flushes, want %d", err, base.syncs, n+1)
		}
	}
	if _, _, err := OpenOverlayOn(file, window, [64]byte{}, 0); err != nil || base.syncs != 3 {
		t.Errorf("opened again: %v; %d flushes", err, base.syncs)
	}
	base.err = syscall.EIO
	if _, _, err := OpenOverlayOn(NewRAM(nil), base, [64]byte{}, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("over a base that cannot be flushed: %v", err)
	}
}
