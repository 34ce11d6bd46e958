package top

import (
	"time"

	"github.com/varvefs/varve/internal/daemon"
)

// Sample is the statistics at one instant.
type Sample struct {
	Time  time.Time     `json:"time"`
	Note  string        `json:"note,omitempty"` // what the answer lacks
	Stats *daemon.Stats `json:"stats"`
}

// Rates are events a second between two samples.
type Rates struct {
	Seconds    float64 `json:"seconds"` // between the samples; 0: there are no rates
	Operations float64 `json:"operations"`
	Failed     float64 `json:"operations_failed"`
	Commits    float64 `json:"commits"`
	Conflicts  float64 `json:"conflicts"`
	Merges     float64 `json:"merges"`
	Aborts     float64 `json:"aborts"`
	Waits      float64 `json:"waits"`
	Flushes    float64 `json:"flushes"`
	LogBytes   float64 `json:"log_bytes"`
	HeldBack   float64 `json:"held_back"`
	Collected  float64 `json:"versions_collected"`
	Switches   float64 `json:"policy_switches"`
	FlushTime  float64 `json:"flush_seconds"` // of one flush, on average; 0: there was none
}

// counters are what only grows while a store is open, and the rate that follows.
var counters = []struct {
	of func(*daemon.Stats) float64
	to func(*Rates) *float64
}{
	{operationsDone, func(r *Rates) *float64 { return &r.Operations }},
	{operationsFailed, func(r *Rates) *float64 { return &r.Failed }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Commits) }, func(r *Rates) *float64 { return &r.Commits }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Conflicts) }, func(r *Rates) *float64 { return &r.Conflicts }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Merges) }, func(r *Rates) *float64 { return &r.Merges }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Aborts) }, func(r *Rates) *float64 { return &r.Aborts }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Waits) }, func(r *Rates) *float64 { return &r.Waits }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Flushes) }, func(r *Rates) *float64 { return &r.Flushes }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.WALBytes) }, func(r *Rates) *float64 { return &r.LogBytes }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.HeldBack) }, func(r *Rates) *float64 { return &r.HeldBack }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Collected) }, func(r *Rates) *float64 { return &r.Collected }},
	{func(s *daemon.Stats) float64 { return float64(s.Store.Switches) }, func(r *Rates) *float64 { return &r.Switches }},
	{func(s *daemon.Stats) float64 { return s.Store.FlushSeconds }, func(r *Rates) *float64 { return &r.FlushTime }},
}

func operationsDone(s *daemon.Stats) (n float64) {
	for _, o := range s.Operations {
		n += float64(o.Done)
	}
	return n
}

func operationsFailed(s *daemon.Stats) (n float64) {
	for _, o := range s.Operations {
		n += float64(o.Failed)
	}
	return n
}

// Between makes rates of two samples. There are none where no time passed, and where a counter went back: another store
// counts from zero then.
func Between(before, after *Sample) (r Rates) {
	seconds := after.Time.Sub(before.Time).Seconds()
	if seconds <= 0 {
		return Rates{}
	}
	for _, c := range counters {
		grown := c.of(after.Stats) - c.of(before.Stats)
		if grown < 0 {
			return Rates{}
		}
		*c.to(&r) = grown / seconds
	}
	r.Seconds = seconds
	if r.Flushes > 0 {
		r.FlushTime /= r.Flushes
	} else {
		r.FlushTime = 0
	}
	return r
}

// historySize is how many samples are kept: 30 s of them.
const historySize = 120

// Point is a sample, and the rates since the one before it.
type Point struct {
	Sample
	Rates Rates `json:"rates"`
}

// History has the last points, oldest first. Adding to a History leaves the earlier one as it was.
type History []Point

// Add returns the history with one more sample.
func (h History) Add(s *Sample) History {
	p := Point{Sample: *s}
	if len(h) > 0 {
		p.Rates = Between(&h[len(h)-1].Sample, s)
	}
	kept := h[max(0, len(h)-historySize+1):]
	return append(append(make(History, 0, len(kept)+1), kept...), p)
}

// Last is the newest point, nil where there is none.
func (h History) Last() *Point {
	if len(h) == 0 {
		return nil
	}
	return &h[len(h)-1]
}

// since is the part of a history that is of the same store as its newest point.
func (h History) since() History {
	for i := len(h) - 1; i > 0; i-- {
		if h[i].Rates.Seconds == 0 {
			return h[i:]
		}
	}
	return h
}

// nowSamples are the samples whose rates are shown as a number: those of a second.
const nowSamples = 4

// now has the rates of the last second.
func (h History) now() Rates {
	h = h.since()
	return Between(&h[max(0, len(h)-1-nowSamples)].Sample, &h.Last().Sample)
}
