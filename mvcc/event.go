package mvcc

import (
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// EventKind is the kind of an event.
type EventKind string

// The kinds of events.
const (
	EventCommit        EventKind = "commit"
	EventAbort         EventKind = "abort"
	EventConflict      EventKind = "conflict"
	EventMergeChecked  EventKind = "merge_checked"
	EventMergeApplied  EventKind = "merge_applied"
	EventMergeRejected EventKind = "merge_rejected"
	EventPolicy        EventKind = "policy_switched"
	EventContention    EventKind = "contention_sample"
	EventGC            EventKind = "version_gc"
	EventSnapshot      EventKind = "snapshot_advanced"
	EventPressure      EventKind = "back_pressure"
	EventStep          EventKind = "back_pressure_step" // Reason: from and to; Count: how full it is, in percent
	EventFlush         EventKind = "flush"
	EventRecovery      EventKind = "wal_recovery"
)

// Event is something that happened in a store. Fields that do not apply are zero.
type Event struct {
	Kind    EventKind
	Tx      uint64 // priority of the transaction
	Seq     block.Seq
	Block   block.Number
	NoBlock bool          // of a conflict, an abort or a sample: it is of no block, and Block is not block 0
	Edits   string        // types of the edits in conflict
	Ranges  []merge.Range // bytes of the block that they are about
	Proof   string
	Policy  string
	Outcome string
	Reason  string
	Wait    time.Duration
	Count   int64
	Inputs  *Losses // of a policy switch or a contention sample
}

// Observer takes a store's events where they happen, on the way of a commit: it must return at once.
type Observer interface {
	// Listening reports whether events are wanted now. The store makes none otherwise.
	Listening() bool
	Observe(Event)
}

// ObserverFunc is an Observer that always listens.
type ObserverFunc func(Event)

// Listening follows Observer.
func (ObserverFunc) Listening() bool { return true }

// Observe follows Observer.
func (f ObserverFunc) Observe(e Event) { f(e) }

// events hands a store's events to its observer, if there is one.
type events struct{ observer Observer }

func (e events) emit(ev Event) {
	if e.observed() {
		e.observer.Observe(ev)
	}
}

// observed reports whether events are wanted: the parts of an event are not computed otherwise.
func (e events) observed() bool { return e.observer != nil && e.observer.Listening() }

// flushed reports an epoch that became durable.
func (s *Store) flushed(e block.Epoch, last block.Seq, took time.Duration) {
	s.events.emit(Event{Kind: EventFlush, Seq: last, Count: int64(e), Wait: took})
	s.events.emit(Event{Kind: EventSnapshot, Seq: s.Published()})
}

// contentionSample names the block with most conflicts, and has the losses of the whole store.
func (s *Store) contentionSample() Event {
	st := s.Stats()
	e := Event{Kind: EventContention, Seq: s.Published(), Policy: s.opts.Policy.String(), Inputs: &st.Losses}
	if e.NoBlock = len(st.Hot) == 0; !e.NoBlock {
		e.Block, e.Count = st.Hot[0].Block, int64(st.Hot[0].Count)
	}
	return e
}
