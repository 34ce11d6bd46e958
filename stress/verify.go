package stress

import (
	"context"
	"fmt"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/anishathalye/porcupine"

	"github.com/varvefs/varve/mvcc"
)

// check checks the workload's invariant when no writer runs.
func (r *Run) check(ctx context.Context, when string) {
	if err := r.store.View(ctx, func(tx *mvcc.Tx) error {
		for _, bad := range r.load.check(tx, false) {
			r.violation(when + bad)
		}
		return nil
	}); err != nil {
		r.violation(when + err.Error())
	}
}

// verify checks the invariant at the end, the store's structures, its promises about lost races and old versions, and
// the history.
func (r *Run) verify(ctx context.Context) {
	r.check(ctx, "at the end: ")
	if err := r.store.Check(); err != nil {
		r.violation(err.Error())
	}
	if n := r.store.Stats().History; n > 0 {
		r.violation(fmt.Sprintf("%d old versions are kept, and no snapshot is live (M6)", n))
	}
	if l, ok := r.load.(bounded); ok && r.most > mostAborts(l.touches()) {
		r.violation(fmt.Sprintf("a transaction lost %d races for %d blocks: it starved (M5)", r.most, l.touches()))
	}
	if _, ok := r.load.(*counter); ok {
		r.verifyCounter()
		return
	}
	r.verifyHistory()
}

// lostRaces is the default of mvcc.Options.LostRaces.
const lostRaces = 8

// mostAborts bounds the races that a transaction loses for some blocks (M5): those before it joins the wait queue, and
// one for each block whose line it was not in.
func mostAborts(blocks int) int { return lostRaces + blocks }

// verifyHistory checks what was recorded, as a whole and key by key.
func (r *Run) verifyHistory() {
	txns, serializable := r.rec.txns, r.cfg.Isolation == mvcc.Serializable
	if l, ok := r.load.(declared); ok && l.declares() {
		serializable = true
	}
	if l, ok := r.load.(equal); ok && l.equalBytes() { // an attempt that lost wrote what a later one commits
		txns = slices.DeleteFunc(slices.Clone(txns), func(t Txn) bool { return !t.Committed })
	}
	found, lost := checkHistory(txns, serializable)
	r.lost = uint64(lost)
	for _, a := range found {
		r.violation(a.String())
	}
	for key, ops := range registers(txns) {
		if ok, unknown := checkLinearizable(registerModel, ops); !ok {
			r.violation(fmt.Sprintf("the history of key %d is that of no register", key))
		} else if unknown {
			r.violation(fmt.Sprintf("porcupine did not end on the history of key %d: it was not checked", key))
		}
	}
}

// verifyCounter checks a counter's history: additions without a result, and reads.
func (r *Run) verifyCounter() {
	var ops []porcupine.Operation
	for _, t := range r.rec.txns {
		if t.Committed && len(t.Ops) == 1 {
			op := t.Ops[0]
			in := registerInput{}
			if op.Write {
				in.add = op.Value
			}
			ops = append(ops, porcupine.Operation{ClientId: t.Session, Input: in, Call: t.Begin, Output: op.Value,
				Return: t.End})
		}
	}
	if ok, unknown := checkLinearizable(counterModel, ops); !ok {
		r.violation("the history is that of no counter")
	} else if unknown {
		r.violation("porcupine did not end on the counter's history: it was not checked")
	}
}

func percentiles(h *hdrhistogram.Histogram) Latency {
	us := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return Latency{us(50), us(99), us(99.9)}
}

// fairness is the slowest writer's commits over the median's. Those that only read do not count.
func (r *Run) fairness(commits []uint64) float64 {
	var c []uint64
	for i, n := range commits {
		if !r.writers[i].reads {
			c = append(c, n)
		}
	}
	slices.Sort(c)
	if len(c) == 0 || c[len(c)/2] == 0 {
		return 0
	}
	return float64(c[0]) / float64(c[len(c)/2])
}
