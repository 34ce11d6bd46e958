package evidence

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/varvefs/varve/mvcc"
)

// Answer is the answer of a ledger to a question.
type Answer struct {
	Preset    string            `json:"preset"`
	Records   int               `json:"records"`
	Dropped   int64             `json:"dropped"`
	Malformed []int             `json:"malformed_lines,omitempty"` // numbers, from 1
	Events    map[string]int    `json:"events"`
	Blocks    []BlockContention `json:"blocks,omitempty"`   // contention
	Proofs    map[string]int    `json:"proofs,omitempty"`   // contention
	Reasons   map[string]int    `json:"reasons,omitempty"`  // contention, pressure
	Switches  []Record          `json:"switches,omitempty"` // contention
	Slowest   []Record          `json:"slowest,omitempty"`  // slowest: operations, and commits that waited
	Findings  []string          `json:"findings"`           // replay-anomalies, pressure
}

// BlockContention is what happened at one block.
type BlockContention struct {
	Block     uint64 `json:"block"`
	Conflicts int    `json:"conflicts"`
	Applied   int    `json:"merges_applied"`
	Rejected  int    `json:"merges_rejected"`
	Aborts    int    `json:"aborts"`
}

// Presets are the questions that Ask knows.
var Presets = []string{"contention", "replay-anomalies", "pressure", "slowest"}

// maxLine bounds a line of a ledger, in bytes.
const maxLine = 1 << 20

// Ask answers a preset question from the records of a ledger that a filter lets through. Lines that are no records are
// counted, and left out: the last one of a process that was killed may be half.
func Ask(r io.Reader, preset string, only Filter) (Answer, error) {
	if !slices.Contains(Presets, preset) {
		return Answer{}, fmt.Errorf("no preset %q: there are %v", preset, Presets)
	}
	a := &asker{Answer: Answer{Preset: preset, Events: map[string]int{}, Proofs: map[string]int{},
		Reasons: map[string]int{}, Findings: []string{}},
		blocks: map[uint64]*BlockContention{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<16), maxLine)
	line := 1
	for ; sc.Scan(); line++ {
		var rec Record
		if err := json.Unmarshal(sc.Bytes(), &rec); err != nil || rec.Event == "" {
			a.Malformed = append(a.Malformed, line)
			continue
		}
		if rec.Event == EventDropped || only.Wants(&rec) {
			a.take(rec)
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Answer{}, fmt.Errorf("no evidence ledger: line %d is longer than %d bytes", line, maxLine)
	} else if err != nil {
		return Answer{}, fmt.Errorf("read the ledger: %w", err)
	}
	a.finish()
	return a.Answer, nil
}

type asker struct {
	Answer
	blocks  map[uint64]*BlockContention
	lastSeq uint64 // of a flush
	lastEnd int64  // epoch of a flush
}

func (a *asker) take(r Record) {
	a.Records++
	a.Events[r.Event]++
	if r.Event == EventDropped {
		a.Dropped += r.Count
		return
	}
	switch a.Preset {
	case "contention":
		a.contention(r)
	case "replay-anomalies":
		a.replay(r)
	case "pressure":
		a.pressure(r)
	case "slowest":
		a.slowest(r)
	}
}

// contended are the events that count for a block's contention. A sample of contention, too, names a block, but the
// sketch of conflicts is what it counts.
var contended = []mvcc.EventKind{
	mvcc.EventConflict,
	mvcc.EventMergeApplied,
	mvcc.EventMergeRejected,
	mvcc.EventAbort,
	mvcc.EventPolicy,
}

func (a *asker) contention(r Record) {
	if r.Block == nil || !slices.Contains(contended, mvcc.EventKind(r.Event)) {
		return
	}
	b := a.blocks[*r.Block]
	if b == nil {
		b = &BlockContention{Block: *r.Block}
		a.blocks[*r.Block] = b
	}
	switch mvcc.EventKind(r.Event) {
	case mvcc.EventConflict:
		b.Conflicts++
		a.Reasons[r.Reason]++
	case mvcc.EventMergeApplied:
		b.Applied++
		a.Proofs[r.Proof]++
	case mvcc.EventMergeRejected:
		b.Rejected++
	case mvcc.EventAbort:
		b.Aborts++
	case mvcc.EventPolicy:
		a.Switches = append(a.Switches, r)
	}
}

// replay looks for what a recovery dropped, and for flushes that do not follow each other.
func (a *asker) replay(r Record) {
	switch mvcc.EventKind(r.Event) {
	case mvcc.EventRecovery:
		a.Findings = append(a.Findings, fmt.Sprintf("%s: recovery to commit %d: %d commits applied, %s",
			r.Time.Format("15:04:05.000"), r.Seq, r.Count, r.Reason))
		a.lastSeq, a.lastEnd = r.Seq, 0
	case mvcc.EventFlush:
		if r.Seq < a.lastSeq || a.lastEnd != 0 && r.Count != a.lastEnd+1 {
			a.Findings = append(a.Findings,
				fmt.Sprintf("%s: epoch %d ends at commit %d, after epoch %d at commit %d: out of order",
					r.Time.Format("15:04:05.000"), r.Count, r.Seq, a.lastEnd, a.lastSeq))
		}
		a.lastSeq, a.lastEnd = r.Seq, r.Count
	}
}

func (a *asker) pressure(r Record) {
	switch mvcc.EventKind(r.Event) {
	case mvcc.EventPressure:
		a.Reasons[r.Reason]++
		a.Findings = append(a.Findings, fmt.Sprintf("%s: writers were held back at %d bytes of history; %s, at commit %d",
			r.Time.Format("15:04:05.000"), r.Count, r.Reason, r.Seq))
	case mvcc.EventStep:
		a.Reasons["back-pressure from "+r.Reason]++
	case mvcc.EventGC:
		a.Reasons["versions collected"] += int(r.Count)
	}
}

// mostSlow bounds the records of Slowest.
const mostSlow = 20

// slowest keeps the operations that took longest, and the commits that waited longest.
func (a *asker) slowest(r Record) {
	if r.cost() == 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(a.Slowest, r, func(x, y Record) int { return cmp.Compare(y.cost(), x.cost()) })
	if at < mostSlow {
		a.Slowest = slices.Insert(a.Slowest, at, r)
		a.Slowest = a.Slowest[:min(len(a.Slowest), mostSlow)]
	}
}

// cost is how long an operation took, or a commit waited, in seconds.
func (r *Record) cost() float64 {
	switch {
	case r.Operation != nil:
		return r.Took
	case r.Event == string(mvcc.EventCommit):
		return r.Wait
	}
	return 0
}

func (a *asker) finish() {
	a.Blocks = slices.SortedFunc(maps.Values(values(a.blocks)), func(x, y BlockContention) int {
		return cmp.Or(cmp.Compare(y.Conflicts+y.Applied, x.Conflicts+x.Applied), cmp.Compare(x.Block, y.Block))
	})
	a.Blocks = a.Blocks[:min(len(a.Blocks), 20)]
	a.Switches = a.Switches[:min(len(a.Switches), 100)]
	a.Findings = a.Findings[:min(len(a.Findings), 200)]
}

func values(m map[uint64]*BlockContention) map[uint64]BlockContention {
	out := map[uint64]BlockContention{}
	for k, v := range m {
		out[k] = *v
	}
	return out
}
