package blockcache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDisk_Discard: a range of a window of a file becomes a hole, its neighbours stay, and so does the size.
func TestDisk_Discard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	const unit = 64 << 10
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 4*unit), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	like, err := NewWindow(d, unit, 2*unit)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWritableWindow(d, like)
	k := DiscarderOf(w)
	if k == nil || k.DiscardUnit() > unit {
		t.Fatalf("a window of a file cannot discard: %v", k)
	}
	for _, r := range [][2]int64{{-1, 2}, {unit, unit + 1}, {0, -1}, {3 * unit, 1}} {
		if k.Discard(r[0], r[1]) == nil {
			t.Errorf("%v: bytes that are not the window's", r)
		}
	}
	if err := k.Discard(unit, unit); err != nil {
		t.Fatal(err)
	}
	want := append(append(bytes.Repeat([]byte("x"), 2*unit), make([]byte, unit)...), bytes.Repeat([]byte("x"), unit)...)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, or other bytes", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks*512 != 3*unit {
		t.Errorf("%v, %d bytes in use", err, st.Blocks*512)
	}
	if DiscarderOf(NewFaulty(w)) != nil {
		t.Error("a device without a way to discard has one")
	}
}
