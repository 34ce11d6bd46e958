//go:build testhooks

package blockcache

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDiskTrace_Covers: a flush covers the writes that had ended before it began, and no others; a record that is not
// whole ends the trace.
func TestDiskTrace_Covers(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "trace"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr := &diskTrace{file: f}
	tr.once.Do(func() {})
	tr.record(traceWriteBegins, 1, 1, 0, []byte("before"))
	tr.record(traceWriteEnds, 1, 1, 0, nil)
	tr.record(traceWriteBegins, 1, 2, 512, []byte("open"))
	tr.record(traceFlushBegins, 1, 3, 0, nil)
	tr.record(traceWriteBegins, 1, 4, 1024, []byte("late"))
	tr.record(traceWriteEnds, 1, 2, 0, nil)
	tr.record(traceWriteEnds, 1, 4, 0, nil)
	tr.record(traceFlushEnds, 1, 3, 0, nil)
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	events, err := ReadDiskTrace(append(raw, raw[:20]...))
	if err != nil || len(events) != 4 || !events[3].Flush() {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, want := range []bool{true, false, false} {
		if got := events[3].Covers(events[i].Event); got != want {
			t.Errorf("%q is covered: %v, want %v", events[i].Data, got, want)
		}
	}
	if end := events[3].End; end != int64(len(raw)) {
		t.Errorf("the trace ends at %d, and has %d bytes", end, len(raw))
	}
	raw[0] = 99
	if _, err := ReadDiskTrace(raw); err == nil {
		t.Error("a record of an unknown kind is taken")
	}
}
