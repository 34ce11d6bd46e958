// Package evidence keeps the ledger of a store's events: one JSON record a line, each of which can be read by itself.
package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// EventDropped is the record that counts the events which the ledger could not keep up with, by kind in Reason.
const EventDropped = "dropped"

// Ledger writes events as they come, up to a rate. It never makes a commit wait: what it cannot keep up with, it drops
// and counts.
type Ledger struct {
	ch      chan Record
	budget  atomic.Int64 // events that may still be taken in this tick
	rate    int64        // events a tick
	dropped atomic.Uint64
	namer   atomic.Pointer[func(*Record)]
	done    sync.WaitGroup
	err     error // of the writer, after Close
}

const (
	tick      = 50 * time.Millisecond
	queueSize = 8192
)

// NewLedger begins a ledger on w that takes at most so many events a second.
func NewLedger(w io.Writer, perSecond int) *Ledger {
	l := &Ledger{ch: make(chan Record, queueSize), rate: max(int64(perSecond)/int64(time.Second/tick), 1)}
	l.budget.Store(l.rate)
	l.done.Go(func() { l.err = l.write(w) })
	return l
}

// Listening follows mvcc.Observer.
func (l *Ledger) Listening() bool { return true }

// Observe follows mvcc.Observer.
func (l *Ledger) Observe(e mvcc.Event) { l.Take(recordOf(e)) }

// Take follows Sink. A record over the rate is dropped. Operations without a commit are no evidence.
func (l *Ledger) Take(r Record) {
	if r.Operation != nil && r.Seq == 0 {
		return
	}
	if rare(r.Event) || l.budget.Load() > 0 && l.budget.Add(-1) >= 0 {
		select {
		case l.ch <- r:
			return
		default:
		}
	}
	l.dropped.Add(1)
}

// rare events are worth more than the rate's bound: there are few of them.
func rare(event string) bool {
	switch mvcc.EventKind(event) {
	case mvcc.EventPolicy, mvcc.EventContention, mvcc.EventPressure, mvcc.EventStep, mvcc.EventRecovery,
		mvcc.EventFlush, mvcc.EventGC:
		return true
	}
	return false
}

// chunk is how many bytes of records are written at a time, unless a tick comes before.
const chunk = 1 << 16

// write writes whole lines at a time.
func (l *Ledger) write(to io.Writer) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	t := time.NewTicker(tick)
	defer t.Stop()
	reported := uint64(0)
	flush := func() error {
		if n := l.dropped.Load(); n > reported {
			if err := enc.Encode(Record{Time: time.Now(), Event: EventDropped, Count: int64(n - reported)}); err != nil {
				return err
			}
			reported = n
		}
		_, err := lines.WriteTo(to)
		return err
	}
	for {
		var err error
		select {
		case r, ok := <-l.ch:
			if !ok {
				return flush()
			}
			if name := l.namer.Load(); name != nil {
				(*name)(&r)
			}
			if err = enc.Encode(r); err == nil && lines.Len() >= chunk {
				err = flush()
			}
		case <-t.C:
			l.budget.Store(l.rate)
			err = flush()
		}
		if err != nil {
			l.drain()
			return err
		}
	}
}

// drain drops the events after the writer has failed.
func (l *Ledger) drain() {
	for range l.ch {
		l.dropped.Add(1)
	}
}

// SetNamer sets what puts names into records before they are written: it is called beside the store, not on the way of
// its commits.
func (l *Ledger) SetNamer(name func(*Record)) { l.namer.Store(&name) }

// Dropped is how many events were dropped.
func (l *Ledger) Dropped() uint64 { return l.dropped.Load() }

// Close writes the events that were accepted. Take must not be called any more.
func (l *Ledger) Close() error {
	close(l.ch)
	l.done.Wait()
	if l.err != nil {
		return fmt.Errorf("write the ledger: %w", l.err)
	}
	return nil
}
