package evidence

import (
	"time"

	"github.com/varvefs/varve/mvcc"
)

// Record is one line of a ledger. Fields that do not apply are left out.
type Record struct {
	Time    time.Time    `json:"time"`
	Event   string       `json:"event"`
	Tx      uint64       `json:"tx,omitempty"`
	Seq     uint64       `json:"sequence,omitempty"`
	Block   *uint64      `json:"block,omitempty"`
	Edits   string       `json:"edits,omitempty"`
	Ranges  []Range      `json:"ranges,omitempty"` // that the edits are about
	What    string       `json:"what,omitempty"`   // the block is
	Fields  []string     `json:"fields,omitempty"` // the ranges in words
	Proof   string       `json:"proof,omitempty"`
	Policy  string       `json:"policy,omitempty"`
	Outcome string       `json:"outcome,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Wait    float64      `json:"wait_seconds,omitempty"`
	Count   int64        `json:"count,omitempty"`
	Inputs  *mvcc.Losses `json:"inputs,omitempty"`

	*Operation // of EventOperation
}

// Range is a range of bytes of a block: offset and length.
type Range [2]uint32

// EventOperation is the record of a request of the kernel's that a mount has answered.
const EventOperation = "operation"

// Operation is a request that a mount has answered. Numbers of inodes are 0 where they do not apply.
type Operation struct {
	Name      string  `json:"operation"` // create, write, ...
	Thread    uint32  `json:"thread"`    // that asked; 0: the kernel itself
	UID       uint32  `json:"uid"`
	Inode     uint32  `json:"inode"`           // of the file; or of the directory of Entry
	Entry     string  `json:"entry,omitempty"` // a name in the directory
	Made      uint32  `json:"made,omitempty"`  // inode of Entry, where the answer has it
	To        uint32  `json:"to,omitempty"`    // the other directory of a rename, or that of a link
	ToEntry   string  `json:"to_entry,omitempty"`
	Attribute string  `json:"attribute,omitempty"`
	Offset    uint64  `json:"offset,omitempty"` // bytes
	Bytes     uint64  `json:"bytes,omitempty"`
	Errno     uint32  `json:"errno,omitempty"`
	Took      float64 `json:"took_seconds"`
	Path      string  `json:"path,omitempty"`    // of Inode and Entry, where it is known
	ToPath    string  `json:"to_path,omitempty"` // of To and ToEntry
}

func recordOf(e mvcc.Event) Record {
	r := Record{Time: time.Now(), Event: string(e.Kind), Tx: e.Tx, Seq: uint64(e.Seq), Edits: e.Edits, Proof: e.Proof,
		Policy:  e.Policy,
		Outcome: e.Outcome, Reason: e.Reason, Wait: e.Wait.Seconds(), Count: e.Count, Inputs: e.Inputs}
	for _, at := range e.Ranges {
		r.Ranges = append(r.Ranges, Range{at.Off, at.Len})
	}
	switch e.Kind {
	case mvcc.EventConflict, mvcc.EventAbort, mvcc.EventMergeApplied, mvcc.EventMergeChecked, mvcc.EventMergeRejected,
		mvcc.EventPolicy, mvcc.EventContention:
		if n := uint64(e.Block); !e.NoBlock {
			r.Block = &n
		}
	}
	return r
}
