package stress

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// registerInput is one operation on a register that counts: it adds, or reads.
type registerInput struct {
	add   uint64
	write bool // sets value, having read prev
	value uint64
	prev  uint64
}

// counterModel is a counter that is added to and read.
var counterModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.add > 0 {
			return true, state.(uint64) + in.add
		}
		return output.(uint64) == state.(uint64), state
	},
}

// registerModel is a register that is read, and set by those who know what it held.
var registerModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.write {
			return state.(uint64) == in.prev, in.value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// checkerLimit bounds porcupine, whose worst case is exponential.
const checkerLimit = 10 * time.Second

// checkLinearizable runs porcupine. unknown: it did not end in time.
func checkLinearizable(m porcupine.Model, ops []porcupine.Operation) (ok, unknown bool) {
	switch porcupine.CheckOperationsTimeout(m, ops, checkerLimit) {
	case porcupine.Ok:
		return true, false
	case porcupine.Unknown:
		return true, true
	}
	return false, false
}

// registers takes the operations on single keys out of a history: of transactions that touch one key only, because the
// others are not operations on a register.
func registers(txns []Txn) map[uint64][]porcupine.Operation {
	out := map[uint64][]porcupine.Operation{}
	several := map[uint64]bool{}
	for _, t := range txns {
		if !t.Committed || len(t.Ops) == 0 {
			continue
		}
		key, one := t.Ops[0].Key, true
		for _, op := range t.Ops {
			one = one && op.Key == key
		}
		for _, op := range t.Ops {
			several[op.Key] = several[op.Key] || !one
		}
		last := t.Ops[len(t.Ops)-1]
		in := registerInput{write: last.Write, value: last.Value, prev: last.Prev}
		out[key] = append(out[key], porcupine.Operation{ClientId: t.Session, Input: in, Call: t.Begin, Output: last.Value,
			Return: t.End})
	}
	for key, bad := range several {
		if bad {
			delete(out, key)
		}
	}
	return out
}
