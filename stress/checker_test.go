package stress

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

func w(key, value, prev uint64) Op { return Op{Write: true, Key: key, Value: value, Prev: prev} }
func r(key, value uint64) Op       { return Op{Key: key, Value: value} }
func committed(ops ...Op) Txn      { return Txn{Committed: true, Ops: ops} }
func aborted(ops ...Op) Txn        { return Txn{Ops: ops} }

// TestCheckHistory_Rejects has a history for each anomaly, and some that are fine.
func TestCheckHistory_Rejects(t *testing.T) {
	for name, c := range map[string]struct {
		txns         []Txn
		snapshot     []string // what is found under snapshot isolation
		serializable []string
	}{
		"serial": {[]Txn{committed(r(1, 0), w(1, 5, 0)), committed(r(1, 5), w(1, 6, 5))}, nil, nil},
		"G0": {[]Txn{committed(w(1, 5, 0), w(2, 8, 7)), committed(w(1, 6, 5), w(2, 7, 0))}, []string{"G0"},
			[]string{"G0"}},
		"G1a":                 {[]Txn{aborted(w(1, 5, 0)), committed(r(1, 5))}, []string{"G1a"}, []string{"G1a"}},
		"from no transaction": {[]Txn{committed(r(1, 5))}, []string{"G1a"}, []string{"G1a"}},
		"G1b": {[]Txn{committed(w(1, 5, 0), w(1, 6, 5)), committed(r(1, 5))}, []string{"G1b", "G-single"},
			[]string{"G1b", "G-single"}},
		"G1c": {[]Txn{committed(w(1, 5, 0), r(2, 6)), committed(w(2, 6, 0), r(1, 5))}, []string{"G1c"},
			[]string{"G1c"}},
		"G-single": {[]Txn{committed(w(1, 5, 0), w(2, 6, 0)), committed(r(1, 0), r(2, 6))}, []string{"G-single"},
			[]string{"G-single"}},
		"lost update": {[]Txn{committed(r(1, 0), w(1, 5, 0)), committed(r(1, 0), w(1, 6, 0))}, []string{"lost-update"},
			[]string{"lost-update"}},
		"write skew": {[]Txn{committed(r(1, 0), w(2, 5, 0)), committed(r(2, 0), w(1, 6, 0))}, nil, []string{"G2"}},
		"aborts":     {[]Txn{aborted(r(1, 0), w(2, 5, 0)), committed(r(2, 0), w(1, 6, 0))}, nil, nil},
		"three": {[]Txn{committed(r(1, 0), w(2, 5, 0)), committed(r(2, 0), w(3, 6, 0)), committed(r(3, 0), w(1, 7, 0))},
			nil, []string{"G2"}},
	} {
		t.Run(name, func(t *testing.T) {
			for level, want := range map[bool][]string{false: c.snapshot, true: c.serializable} {
				var got []string
				for _, a := range CheckHistory(c.txns, level) {
					if !slices.Contains(got, a.Name) {
						got = append(got, a.Name)
					}
				}
				for _, name := range want {
					if !slices.Contains(got, name) {
						t.Errorf("serializable %v: found %v, want %v", level, got, want)
					}
				}
				if len(want) == 0 && len(got) > 0 {
					t.Errorf("serializable %v: found %v in a history without anomalies", level, got)
				}
			}
		})
	}
}

// TestCheckLinearizable_Rejects: a register that forgets, and a counter that loses an addition, are refused.
func TestCheckLinearizable_Rejects(t *testing.T) {
	op := func(call, ret int64, in registerInput, out uint64) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: call, Return: ret}
	}
	good := []porcupine.Operation{op(0, 10, registerInput{add: 1}, 0), op(5, 20, registerInput{add: 2}, 0),
		op(30, 40, registerInput{}, 3)}
	if ok, _ := checkLinearizable(counterModel, good); !ok {
		t.Error("a good counter was refused")
	}
	bad := append(slices.Clone(good), op(50, 60, registerInput{}, 2))
	if ok, _ := checkLinearizable(counterModel, bad); ok {
		t.Error("a counter that went back was accepted")
	}
	regs := registers([]Txn{{Committed: true, Begin: 0, End: 1, Ops: []Op{w(1, 5, 0)}},
		{Committed: true, Begin: 2, End: 3, Ops: []Op{r(1, 0)}}})
	if ok, _ := checkLinearizable(registerModel, regs[1]); ok {
		t.Error("a register that forgot was accepted")
	}
}
