package evidence

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/mvcc"
)

// Sink takes records on the way of the operations that they are about: Take must return at once.
type Sink interface{ Take(Record) }

// Bus hands records to sinks that come and go. While there is none, it costs an atomic load.
type Bus struct {
	mu    sync.Mutex // of changes
	sinks atomic.Pointer[[]Sink]
}

// Listening follows mvcc.Observer.
func (b *Bus) Listening() bool { return b.sinks.Load() != nil }

// Observe follows mvcc.Observer.
func (b *Bus) Observe(e mvcc.Event) { b.Publish(recordOf(e)) }

// Publish hands a record to each sink.
func (b *Bus) Publish(r Record) {
	if sinks := b.sinks.Load(); sinks != nil {
		for _, s := range *sinks {
			s.Take(r)
		}
	}
}

// Attach hands records to a sink from now on, until detach. A record may come shortly after that.
func (b *Bus) Attach(s Sink) (detach func()) {
	b.change(func(sinks []Sink) []Sink { return append(sinks, s) })
	return func() {
		b.change(func(sinks []Sink) []Sink {
			return slices.DeleteFunc(sinks, func(x Sink) bool { return x == s })
		})
	}
}

func (b *Bus) change(to func([]Sink) []Sink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sinks []Sink
	if now := b.sinks.Load(); now != nil {
		sinks = slices.Clone(*now)
	}
	if sinks = to(sinks); len(sinks) == 0 {
		b.sinks.Store(nil)
	} else {
		b.sinks.Store(&sinks)
	}
}

// Tail keeps the newest records for one reader. One that is slow loses the oldest, and learns how many.
type Tail struct {
	mu      sync.Mutex
	ring    []Record
	first   int // index of the oldest
	n       int
	dropped int64
	wake    chan struct{}
}

// NewTail makes a tail of at most size records.
func NewTail(size int) *Tail { return &Tail{ring: make([]Record, size), wake: make(chan struct{}, 1)} }

// Take follows Sink.
func (t *Tail) Take(r Record) {
	t.mu.Lock()
	if t.n == len(t.ring) {
		t.first, t.n = (t.first+1)%len(t.ring), t.n-1
		t.dropped++
	}
	t.ring[(t.first+t.n)%len(t.ring)] = r
	t.n++
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Next waits for records, and appends those that there are to into. Lost ones are counted by a record of EventDropped
// before them.
func (t *Tail) Next(ctx context.Context, into []Record) ([]Record, error) {
	for {
		t.mu.Lock()
		if t.dropped > 0 {
			into = append(into, Record{Time: t.ring[t.first].Time, Event: EventDropped, Count: t.dropped})
			t.dropped = 0
		}
		for ; t.n > 0; t.n-- {
			into = append(into, t.ring[t.first])
			t.ring[t.first] = Record{}
			t.first = (t.first + 1) % len(t.ring)
		}
		t.mu.Unlock()
		if len(into) > 0 {
			return into, nil
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return into, ctx.Err()
		}
	}
}
