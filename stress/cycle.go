package stress

import (
	"fmt"
	"slices"
	"strings"
)

// Anomaly is something that a history shows and its isolation forbids, named as by Adya ("Weak Consistency", MIT 1999).
type Anomaly struct {
	Name string // G0, G1a, G1b, G1c, G-single, G2, or lost-update
	What string
}

func (a Anomaly) String() string { return a.Name + ": " + a.What }

// edge is a dependency between two transactions.
type edge struct {
	to   int
	kind edgeKind
}

type edgeKind uint8

const (
	ww edgeKind = 1 << iota // to overwrote what from wrote
	wr                      // to read what from wrote
	rw                      // to overwrote what from read
)

func (k edgeKind) String() string { return map[edgeKind]string{ww: "ww", wr: "wr", rw: "rw"}[k] }

// CheckHistory looks for anomalies. Under snapshot isolation G0, G1a, G1b, G1c, G-single and lost updates are
// forbidden; at serializable G2, too. The order of a key's versions follows from what each writer of it had read, not
// from anything that the store says.
func CheckHistory(txns []Txn, serializable bool) []Anomaly {
	found, _ := checkHistory(txns, serializable)
	return found
}

// checkHistory is CheckHistory, and counts the lost updates, of which it names only the first.
func checkHistory(txns []Txn, serializable bool) (found []Anomaly, lost int) {
	h := &history{txns: txns, writer: map[version]int{}, next: map[version]int{}}
	h.index()
	h.connect()
	h.cycles(serializable)
	return h.found, h.lost
}

type version struct{ key, value uint64 }

type history struct {
	txns   []Txn
	writer map[version]int // the transaction that wrote a version
	next   map[version]int // the committed transaction that overwrote it
	edges  [][]edge
	found  []Anomaly
	lost   int // updates
}

func (h *history) report(name, format string, args ...any) {
	if len(h.found) < 100 {
		h.found = append(h.found, Anomaly{name, fmt.Sprintf(format, args...)})
	}
}

// index finds the writers of all versions, and lost updates: two that replaced the same version.
func (h *history) index() {
	for i, t := range h.txns {
		for _, op := range t.Ops {
			if op.Write {
				h.writer[version{op.Key, op.Value}] = i
			}
		}
	}
	for i, t := range h.txns {
		if !t.Committed {
			continue
		}
		for _, op := range t.Ops {
			if !op.Write {
				continue
			}
			v := version{op.Key, op.Prev}
			if other, ok := h.next[v]; ok && other != i {
				h.lost++
				h.report("lost-update", "transactions %d and %d both replaced value %d of key %d", other, i, op.Prev, op.Key)
			}
			h.next[v] = i
		}
	}
}

// final is the last value that a transaction wrote to a key.
func (h *history) final(t int, key uint64) (value uint64) {
	for _, op := range h.txns[t].Ops {
		if op.Write && op.Key == key {
			value = op.Value
		}
	}
	return value
}

// connect makes the edges, and finds dirty and intermediate reads (G1a, G1b) on the way.
func (h *history) connect() {
	h.edges = make([][]edge, len(h.txns))
	for i, t := range h.txns {
		if !t.Committed {
			continue
		}
		for _, op := range t.Ops {
			value := op.Value
			if op.Write {
				value = op.Prev
			}
			h.connectRead(i, op, value)
		}
	}
}

// connectRead makes the edges of a value that transaction i read, or overwrote.
func (h *history) connectRead(i int, op Op, value uint64) {
	v := version{op.Key, value}
	if w, ok := h.writer[v]; ok && w != i {
		switch {
		case !h.txns[w].Committed:
			h.report("G1a", "transaction %d read value %d of key %d, which transaction %d wrote and did not commit", i, value,
				op.Key, w)
		case h.final(w, op.Key) != value:
			h.report("G1b", "transaction %d read value %d of key %d, which transaction %d overwrote itself", i, value, op.Key, w)
		}
		if h.txns[w].Committed {
			kind := wr
			if op.Write {
				kind = ww
			}
			h.edges[w] = append(h.edges[w], edge{i, kind})
		}
	} else if !ok && value != 0 {
		h.report("G1a", "transaction %d read value %d of key %d, which no transaction wrote", i, value, op.Key)
	}
	if n, ok := h.next[v]; ok && n != i && !op.Write {
		h.edges[i] = append(h.edges[i], edge{n, rw})
	}
}

// cycles reports one cycle of each kind in each strongly connected component.
func (h *history) cycles(serializable bool) {
	for _, comp := range h.components() {
		inside := map[int]bool{}
		for _, t := range comp {
			inside[t] = true
		}
		switch {
		case h.cycle(comp, inside, "G0", ww, 0):
		case h.cycle(comp, inside, "G1c", ww|wr, 0):
		case h.cycle(comp, inside, "G-single", ww|wr, rw):
		case serializable:
			h.cycle(comp, inside, "G2", ww|wr|rw, rw)
		}
	}
}

// cycle looks for a cycle whose edges are of the kinds in along, but for one of the kind first, if that is not 0.
func (h *history) cycle(comp []int, inside map[int]bool, name string, along, first edgeKind) bool {
	for _, from := range comp {
		for _, e := range h.edges[from] {
			kind := first
			if first == 0 {
				kind = along
			}
			if e.kind&kind == 0 || !inside[e.to] {
				continue
			}
			if path := h.path(e.to, from, inside, along); path != nil {
				var b strings.Builder
				fmt.Fprintf(&b, "%d -%v-> %d", from, e.kind, e.to)
				for _, p := range path {
					fmt.Fprintf(&b, " -%v-> %d", p.kind, p.to)
				}
				h.report(name, "%s", b.String())
				return true
			}
		}
	}
	return false
}

// path finds the shortest way from one transaction to another; empty, not nil, if they are the same.
func (h *history) path(from, to int, inside map[int]bool, along edgeKind) []edge {
	type step struct {
		before int
		e      edge
	}
	came := map[int]step{from: {-1, edge{}}}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			path := []edge{}
			for at != from {
				path = append(path, came[at].e)
				at = came[at].before
			}
			slices.Reverse(path)
			return path
		}
		for _, e := range h.edges[at] {
			if _, seen := came[e.to]; !seen && inside[e.to] && e.kind&along != 0 {
				came[e.to] = step{at, e}
				queue = append(queue, e.to)
			}
		}
	}
	return nil
}

// components finds the strongly connected components with more than one transaction (Tarjan, 1972), without recursion.
func (h *history) components() (out [][]int) {
	n := len(h.txns)
	index, low := make([]int, n), make([]int, n) // index 0: not seen
	on := make([]bool, n)
	var stack []int
	count := 0
	type frame struct{ at, edge int }
	for root := range n {
		if index[root] != 0 {
			continue
		}
		frames := []frame{{root, 0}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			v := f.at
			if f.edge == 0 {
				count++
				index[v], low[v] = count, count
				stack, on[v] = append(stack, v), true
			}
			descended := false
			for f.edge < len(h.edges[v]) {
				to := h.edges[v][f.edge].to
				f.edge++
				if index[to] == 0 {
					frames = append(frames, frame{to, 0})
					descended = true
					break
				}
				if on[to] {
					low[v] = min(low[v], index[to])
				}
			}
			if descended {
				continue
			}
			if f.edge == 0 {
				f.edge = 1 // no edges: do not count it again
			}
			if low[v] == index[v] {
				var comp []int
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					on[w] = false
					comp = append(comp, w)
					if w == v {
						break
					}
				}
				if len(comp) > 1 {
					out = append(out, comp)
				}
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				up := frames[len(frames)-1].at
				low[up] = min(low[up], low[v])
			}
		}
	}
	return out
}
