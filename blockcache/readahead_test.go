package blockcache

import (
	"fmt"
	"testing"
)

// recorder records the advice that a device got.
type recorder struct {
	Memory
	advice []int64
}

func (a *recorder) Advise(offset, _ int64) { a.advice = append(a.advice, offset/windowSize) }

// TestReadahead_Patterns: which windows are read ahead after which reads.
func TestReadahead_Patterns(t *testing.T) {
	for _, c := range []struct {
		what    string
		touches []int64 // offsets in windows
		size    int64
		want    string
	}{
		{"a single read", []int64{5}, 4096, "[]"},
		{"reads far apart", []int64{5, 50, 500}, 4096, "[]"},
		{"two in one window", []int64{5, 5}, 4096, "[5]"},
		{"window after window", []int64{5, 6, 7, 8}, 4096, "[6 7 8 9]"},
		{"a large read", []int64{5}, windowSize, "[5 6]"},
		{"a large read again", []int64{5, 5, 5}, windowSize, "[5 6]"},
		{"the device's end", []int64{99}, windowSize, "[99]"},
	} {
		d := &recorder{Memory: make(Memory, 100*windowSize)}
		r := NewReadahead(d)
		for _, w := range c.touches {
			r.Touch(w*windowSize, c.size)
		}
		if got := fmt.Sprint(d.advice); got != c.want {
			t.Errorf("%s: windows %s are read ahead, expected %s", c.what, got, c.want)
		}
	}
	var none *Readahead
	none.Touch(0, 1) // a device that takes no advice
	if NewReadahead(Memory(nil)) != nil {
		t.Error("a device that takes no advice has a readahead")
	}
}
