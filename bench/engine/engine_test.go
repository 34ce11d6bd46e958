package engine

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// TestSuite_Page runs everything once, for moments, and makes the page: it needs nothing from elsewhere.
func TestSuite_Page(t *testing.T) {
	figures, err := Suite{Rounds: 1, Duration: 10 * time.Millisecond,
		Only: func(l string) bool { return !strings.Contains(l, "1024") && !strings.Contains(l, "512") }}.Run()
	if err != nil {
		t.Fatal(err)
	}
	rate := map[string]float64{}
	for _, f := range figures {
		rate[f.Engine] += f.Median
	}
	for name, r := range rate {
		if r == 0 {
			t.Errorf("%s committed nothing", name)
		}
	}
	if len(rate) != 6 {
		t.Errorf("%d engines: %v", len(rate), rate)
	}
	phases := map[string][]Sample{}
	for _, p := range []mvcc.Policy{mvcc.Merge, mvcc.Adaptive} {
		n, samples, err := Phases(p, 40*time.Millisecond)
		if err != nil || n == 0 || len(samples) != 40 {
			t.Errorf("%v over phases: %d commits, %d samples, %v", p, n, len(samples), err)
		}
		phases[p.String()] = samples
	}
	var b bytes.Buffer
	if err := WriteHTML(&b, figures, phases); err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(strings.ReplaceAll(b.String(), `xmlns="http://www.w3.org/2000/svg"`, ""),
		`xmlns:xlink="http://www.w3.org/1999/xlink"`, "")
	if m := regexp.MustCompile(`(https?:)?//[a-z]`).FindString(page); m != "" || strings.Count(page, "<svg") != 3 ||
		!strings.Contains(page, "one hot block") {
		t.Errorf("the page refers to %q, and has %d plots", m, strings.Count(page, "<svg"))
	}
	if err := WriteHTML(&b, nil, nil); err != nil {
		t.Errorf("a page of nothing: %v", err)
	}
}
