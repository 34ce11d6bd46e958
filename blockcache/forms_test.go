package blockcache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestCache_Put: a block that was put is not read, and a load that began before does not replace it.
func TestCache_Put(t *testing.T) {
	d := &counted{size: 4096, n: 100}
	c := NewCache(d, nil, 4096, 1<<20)
	fresh := bytes.Repeat([]byte{9}, 4096)
	c.Put(7, fresh)
	if p, err := c.ReadBlock(7); err != nil || !bytes.Equal(p, fresh) || d.reads.Load() != 0 {
		t.Errorf("%d reads, %v: %x", d.reads.Load(), err, p[:4])
	}
	d.gate = make(chan struct{})
	loaded := make(chan []byte)
	go func() {
		p, _ := c.ReadBlock(8)
		loaded <- p
	}()
	for d.reads.Load() == 0 {
		runtime.Gosched()
	}
	c.Put(8, fresh)
	close(d.gate)
	if p := <-loaded; bytes.Equal(p, fresh) {
		t.Error("a load that had begun gives what was put later")
	}
	if p, err := c.ReadBlock(8); err != nil || !bytes.Equal(p, fresh) {
		t.Errorf("an older load replaced a block that was put: %x, %v", p[:4], err)
	}
}

// named is a device with a path.
type named struct{ Memory }

func (named) Name() string { return "/dev/disk" }

// TestWindow_Below: a window passes on what the device below can do, at its own place.
func TestWindow_Below(t *testing.T) {
	w, err := NewWindow(named{Memory("0123456789")}, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	if w.Offset() != 3 || w.Size() != 4 || w.Name() != "/dev/disk" {
		t.Errorf("%d bytes at %d of %s", w.Size(), w.Offset(), w.Name())
	}
	if w.Slice(0, 4) != nil {
		t.Error("a slice of a device that is not mapped")
	}
	w.Advise(0, 4) // which a device without advice ignores
	a := &recorder{Memory: make(Memory, 5*windowSize)}
	w, err = NewWindow(a, 2*windowSize, 3*windowSize)
	if err != nil {
		t.Fatal(err)
	}
	w.Advise(windowSize, windowSize)
	w.Advise(3*windowSize, windowSize) // behind its end
	w.Advise(-1, 1)
	if len(a.advice) != 1 || a.advice[0] != 3 {
		t.Errorf("advice for %d, expected 3", a.advice)
	}
	path, data := numbered(t, 8192)
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if w, err = NewWindow(f, 4096, 4096); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offset int64
		n      int
		want   []byte
	}{{0, 4096, data[4096:]}, {100, 7, data[4196:4203]}, {0, 4097, nil}, {-1, 1, nil}, {4096, 1, nil}} {
		if got := w.Slice(c.offset, c.n); !bytes.Equal(got, c.want) {
			t.Errorf("%d bytes at %d: %d bytes that differ", c.n, c.offset, len(got))
		}
	}
	if _, err := (&Window{device: Memory{}}).ReadAt(nil, 0); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestOverlay_States: the state is durable when SetState returns, and is read without the base.
func TestOverlay_States(t *testing.T) {
	base, file := Memory(make([]byte, 10000)), NewRAM(nil)
	o, fresh, err := OpenOverlayOn(file, base, [64]byte{1}, 2*overlayBlock)
	if err != nil || !fresh || o.State() != OverlayOpen {
		t.Fatalf("fresh %v, state %d: %v", fresh, o.State(), err)
	}
	if o.BaseSize() != 3*overlayBlock || o.Size() != 5*overlayBlock {
		t.Errorf("a base of %d bytes, %d in all", o.BaseSize(), o.Size())
	}
	for _, state := range []OverlayState{OverlayCommitting, OverlayCommitted, OverlayOpen} {
		if err := o.SetState(state); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadOverlayState(file); err != nil || got != state {
			t.Errorf("state %d, %v; expected %d", got, err, state)
		}
		// where a commit has begun the base is changing, and so is its identity
		_, _, err := OpenOverlayOn(NewRAM(bytes.Clone(file.Bytes())), base, [64]byte{2}, 0)
		if errors.Is(err, ErrForeign) != (state == OverlayOpen) {
			t.Errorf("state %d over another base: %v", state, err)
		}
	}
	for what, p := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 4096), "a short one": file.Bytes()[:300],
	} {
		if _, err := ReadOverlayState(NewRAM(p)); !errors.Is(err, ErrNoOverlay) {
			t.Errorf("the state of %s: %v", what, err)
		}
	}
	f := NewFaulty(file)
	if o, _, err = OpenOverlayOn(f, base, [64]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	f.Fail(FlushError, 0, true)
	if err := o.SetState(OverlayCommitting); !errors.Is(err, syscall.EIO) {
		t.Errorf("a state that is not durable: %v", err)
	}
}

// TestOverlay_Adopt: an overlay of another base is taken over only where that is asked for, and only with a base of
// the same size. From then on it belongs to that base.
func TestOverlay_Adopt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overlay")
	open := func(base int, identity byte, adopt bool) (byte, error) {
		o, _, err := OpenOverlay(path, Memory(make([]byte, base)), [64]byte{identity}, 0, adopt)
		if err != nil {
			return 0, err
		}
		defer o.Close()
		p := make([]byte, 1)
		if _, err := o.ReadAt(p, overlayBlock); err != nil {
			return 0, err
		}
		if _, err := o.WriteAt([]byte{5}, overlayBlock); err != nil {
			return 0, err
		}
		return p[0], o.Sync()
	}
	for _, c := range []struct {
		base     int
		identity byte
		adopt    bool
		want     byte
		err      error
	}{
		{16 << 10, 1, false, 0, nil}, // made
		{16 << 10, 1, false, 5, nil},
		{16 << 10, 2, false, 0, ErrForeign},
		{32 << 10, 2, true, 0, ErrForeign},
		{16 << 10, 2, true, 5, nil},
		{16 << 10, 2, false, 5, nil},
		{16 << 10, 1, false, 0, ErrForeign},
	} {
		got, err := open(c.base, c.identity, c.adopt)
		if !errors.Is(err, c.err) || c.err == nil && err != nil || got != c.want {
			t.Errorf("base %d of %d bytes, adopt %v: %d, %v; expected %d, %v",
				c.identity, c.base, c.adopt, got, err, c.want, c.err)
		}
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("text"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(16<<10, 1, true); !errors.Is(err, ErrNoOverlay) {
		t.Errorf("a text file was adopted: %v", err)
	}
}

// TestOverlay_Blocks: EachBlock visits what the overlay has of the base, cut at its end, and Bytes counts that.
func TestOverlay_Blocks(t *testing.T) {
	const size = 3*overlayBlock + 100
	o, _, err := OpenOverlayOn(NewRAM(nil), Memory(make([]byte, size)), [64]byte{}, overlayBlock)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{overlayBlock, size - 1, 4 * overlayBlock} { // the last is behind the base
		if _, err := o.WriteAt([]byte{7}, at); err != nil {
			t.Fatal(err)
		}
	}
	want := map[int64]int{overlayBlock: overlayBlock, 3 * overlayBlock: 100}
	visited := 0
	if err := o.EachBlock(func(offset int64, p []byte) error {
		visited++
		if want[offset] != len(p) || bytes.IndexByte(p, 7) < 0 {
			t.Errorf("%d bytes at %d", len(p), offset)
		}
		return nil
	}); err != nil || visited != len(want) {
		t.Errorf("%d blocks, %v", visited, err)
	}
	if o.Bytes() != overlayBlock+100 {
		t.Errorf("%d bytes", o.Bytes())
	}
	stop := errors.New("stop")
	if err := o.EachBlock(func(int64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error is lost: %v", err)
	}
}
