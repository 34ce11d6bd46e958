package top

import (
	"math"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/mvcc"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sampleAt(ms int, st daemon.Stats) *Sample {
	return &Sample{Time: began.Add(time.Duration(ms) * time.Millisecond), Stats: &st}
}

// TestBetween: rates are what was counted between two samples, over the time between them.
func TestBetween(t *testing.T) {
	before := sampleAt(0, daemon.Stats{
		Operations: []ext4.OpStats{{Name: "create", Done: 10, Failed: 1}, {Name: "write", Done: 5}},
		Store: mvcc.Stats{Commits: 100, Conflicts: 50, Merges: 30, Aborts: 20, Waits: 10, Flushes: 4, WALBytes: 1000,
			HeldBack: 2, Collected: 7, Switches: 1, FlushSeconds: 0.5},
	})
	after := sampleAt(500, daemon.Stats{
		Operations: []ext4.OpStats{{Name: "create", Done: 12, Failed: 2}, {Name: "write", Done: 13}, {Name: "read", Done: 5}},
		Store: mvcc.Stats{Commits: 150, Conflicts: 55, Merges: 34, Aborts: 23, Waits: 12, Flushes: 6, WALBytes: 2000,
			HeldBack: 5, Collected: 13, Switches: 2, FlushSeconds: 0.6},
	})
	got := Between(before, after)
	if math.Abs(got.FlushTime-0.05) > 1e-9 {
		t.Errorf("a flush takes %v s, expected 0.05", got.FlushTime)
	}
	got.FlushTime = 0
	want := Rates{Seconds: 0.5, Operations: 30, Failed: 2, Commits: 100, Conflicts: 10, Merges: 8, Aborts: 6, Waits: 4,
		Flushes: 4, LogBytes: 2000, HeldBack: 6, Collected: 12, Switches: 2}
	if got != want {
		t.Errorf("%+v\nexpected %+v", got, want)
	}
}

// TestBetween_None: a counter that goes back, and a clock that stands, give no rates.
func TestBetween_None(t *testing.T) {
	full := daemon.Stats{Operations: []ext4.OpStats{{Name: "read", Done: 3, Failed: 1}}, Store: mvcc.Stats{Commits: 9,
		Conflicts: 9, Merges: 9, Aborts: 9, Waits: 9, Flushes: 9, WALBytes: 9, HeldBack: 9, Collected: 9, Switches: 9,
		FlushSeconds: 9}}
	if r := Between(sampleAt(0, full), sampleAt(0, full)); r != (Rates{}) {
		t.Errorf("in no time: %+v", r)
	}
	if r := Between(sampleAt(9, full), sampleAt(0, full)); r != (Rates{}) {
		t.Errorf("a clock that goes back: %+v", r)
	}
	if r := Between(sampleAt(0, full), sampleAt(1000, full)); r != (Rates{Seconds: 1}) {
		t.Errorf("without a change: %+v", r)
	}
	for name, back := range map[string]func(*daemon.Stats){
		"done":    func(s *daemon.Stats) { s.Operations = []ext4.OpStats{{Name: "read", Done: 2, Failed: 1}} },
		"failed":  func(s *daemon.Stats) { s.Operations = []ext4.OpStats{{Name: "read", Done: 3}} },
		"commits": func(s *daemon.Stats) { s.Store.Commits-- }, "conflicts": func(s *daemon.Stats) { s.Store.Conflicts-- },
		"merges": func(s *daemon.Stats) { s.Store.Merges-- }, "aborts": func(s *daemon.Stats) { s.Store.Aborts-- },
		"waits": func(s *daemon.Stats) { s.Store.Waits-- }, "flushes": func(s *daemon.Stats) { s.Store.Flushes-- },
		"log": func(s *daemon.Stats) { s.Store.WALBytes-- }, "held back": func(s *daemon.Stats) { s.Store.HeldBack-- },
		"collected": func(s *daemon.Stats) { s.Store.Collected-- }, "switches": func(s *daemon.Stats) { s.Store.Switches-- },
		"flush time": func(s *daemon.Stats) { s.Store.FlushSeconds-- },
	} {
		less := full
		back(&less)
		if r := Between(sampleAt(0, full), sampleAt(1000, less)); r != (Rates{}) {
			t.Errorf("%s went back: %+v", name, r)
		}
	}
}

// TestHistory keeps the last samples, and what was returned before stays as it was.
func TestHistory(t *testing.T) {
	var h History
	if h.Last() != nil {
		t.Error("an empty history has a last point")
	}
	for i := range 3 * historySize {
		older := h
		h = h.Add(sampleAt(250*i, daemon.Stats{Store: mvcc.Stats{Commits: int64(i)}}))
		if n := len(older); n > 0 && older[n-1].Stats.Store.Commits != int64(i-1) {
			t.Fatalf("sample %d changed the history before it", i)
		}
	}
	if len(h) != historySize || h[0].Stats.Store.Commits != 2*historySize || h.Last().Rates.Commits != 4 {
		t.Errorf("%d points from commit %d on, at last %v a second", len(h), h[0].Stats.Store.Commits, h.Last().Rates.Commits)
	}
	h = h.Add(sampleAt(250*3*historySize, daemon.Stats{}))
	if p := h.Last(); p.Rates.Seconds != 0 || len(h.since()) != 1 {
		t.Errorf("another store: %+v, %d points of it", p.Rates, len(h.since()))
	}
	if h = h.Add(sampleAt(250*(3*historySize+1), daemon.Stats{})); len(h.since()) != 2 {
		t.Errorf("%d points of the other store", len(h.since()))
	}
}

// TestFigures: numbers, times and graphs in few characters.
func TestFigures(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.01: "<0.1", 0.06: "0.1", 9.94: "9.9", 9.96: "10", 99999: "99999",
		123456: "123k", 12_345_678: "12M", 1e11: "1e+11"} {
		if got := figure(f); got != want {
			t.Errorf("%v is %q, expected %q", f, got, want)
		}
	}
	for f, want := range map[float64]string{0: "-", 1.23456e-6: "1.23µs", 0.0123456: "12.3ms", 2: "2s", 0.999999: "1s"} {
		if got := timeFigure(f); got != want {
			t.Errorf("%v s is %q, expected %q", f, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0 B", 999: "999 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB"} {
		if got := bytesFigure(f); got != want {
			t.Errorf("%v bytes are %q, expected %q", f, got, want)
		}
	}
	for durable, want := range map[uint64]uint64{4: 5, 9: 0, 10: 0} {
		if got := notDurable(&mvcc.Stats{Published: 9, Durable: durable}); got != want {
			t.Errorf("%d of 9 durable: %d are not", durable, got)
		}
	}
	if got := spark([]float64{9, -1, 0, 1, 4, 8}, 5); got != " ▁▂▅█" {
		t.Errorf("graph %q", got)
	}
	if got := spark([]float64{0}, 3); got != "  ▁" {
		t.Errorf("short graph %q", got)
	}
	if got := bar(0.5, 4) + bar(2, 2) + bar(-1, 2); got != "[##--][##][--]" {
		t.Errorf("bars %q", got)
	}
}
