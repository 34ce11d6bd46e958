package blockcache

import (
	"errors"
	"io"
	"testing"
)

// TestWindow_Bounds: a window ends where it was made to end, and one that is not on the device is refused.
func TestWindow_Bounds(t *testing.T) {
	m := Memory("0123456789")
	w, err := NewWindow(m, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if n, err := w.ReadAt(p, 1); n != 3 || !errors.Is(err, io.EOF) || string(p[:n]) != "456" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if n, err := w.ReadAt(p[:2], 1); n != 2 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := w.ReadAt(p, 4); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range [][2]int64{{-1, 2}, {3, 8}, {11, 0}, {1 << 62, 1 << 62}} {
		if _, err := NewWindow(m, bad[0], bad[1]); err == nil {
			t.Errorf("a window of %v", bad)
		}
	}
}
