package mvcc

import (
	"time"

	"github.com/varvefs/varve/internal/block"
)

// EventKind is what an event tells.
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
	Tx      uint64 // age of the transaction
	Seq     block.Seq
	Block   block.Number
	NoBlock bool   // of a conflict, an abort or a sample: it is of no block, and Block is not block 0
	Edits   string // types of the edits in conflict
	Proof   string
	Policy  string
	Outcome string
	Reason  string
	Wait    time.Duration
	Count   int64
	Inputs  *Losses // of a policy switch or a contention sample
}

func (s *Store) emit(e Event) {
	if s.opts.Events != nil {
		s.opts.Events(e)
	}
}

// observed reports whether anybody listens: what an event is made of is not computed otherwise.
func (s *Store) observed() bool { return s.opts.Events != nil }

func (s *Store) emitFlush(then func(block.Epoch, block.Seq, time.Duration)) func(block.Epoch, block.Seq, time.Duration) {
	return func(e block.Epoch, last block.Seq, took time.Duration) {
		s.emit(Event{Kind: EventFlush, Seq: last, Count: int64(e), Wait: took})
		s.emit(Event{Kind: EventSnapshot, Seq: s.Published()})
		if then != nil {
			then(e, last, took)
		}
	}
}
