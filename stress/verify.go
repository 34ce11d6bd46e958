package stress

import (
	"context"
	"fmt"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/anishathalye/porcupine"

	"github.com/varvefs/varve/mvcc"
)

// verify checks the invariant at the end, the store's structures, and the history.
func (r *Run) verify(ctx context.Context) {
	if err := r.store.View(ctx, func(tx *mvcc.Tx) error {
		for _, bad := range r.load.check(tx, false) {
			r.violation("at the end: " + bad)
		}
		return nil
	}); err != nil {
		r.violation(err.Error())
	}
	if err := r.store.Check(); err != nil {
		r.violation(err.Error())
	}
	serializable := r.cfg.Isolation == mvcc.Serializable
	if _, ok := r.load.(*counter); ok {
		r.verifyCounter()
		return
	}
	for _, a := range CheckHistory(r.rec.txns, serializable) {
		r.violation(a.String())
	}
	for key, ops := range registers(r.rec.txns) {
		if ok, unknown := checkLinearizable(registerModel, ops); !ok {
			r.violation(fmt.Sprintf("the history of key %d is that of no register", key))
		} else if unknown {
			r.violation(fmt.Sprintf("porcupine did not end on the history of key %d: it was not checked", key))
		}
	}
}

// verifyCounter checks a counter's history: additions that tell nothing, and reads.
func (r *Run) verifyCounter() {
	var ops []porcupine.Operation
	for _, t := range r.rec.txns {
		if t.Committed && len(t.Ops) == 1 {
			op := t.Ops[0]
			in := registerInput{}
			if op.Write {
				in.add = op.Value
			}
			ops = append(ops, porcupine.Operation{ClientId: t.Session, Input: in, Call: t.Begin, Output: op.Value, Return: t.End})
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
