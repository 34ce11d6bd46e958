package merge

import (
	"slices"

	"github.com/varvefs/varve/internal/mutant"
)

// relocation follows a transaction's edits on the bytes that it saw, beside the run on the newest ones. An append, or
// a reapply, may land elsewhere there; an edit into what it wrote was decided for the first place, and would hit
// another transaction's bytes.
type relocation struct {
	own       []byte    // base with the edits so far
	before    [2][]byte // own and the result before a reapply
	lost      []Range   // written by an append that landed elsewhere on the newest bytes: its place on either
	appends   bool      // an append landed elsewhere
	reapplied bool      // a reapply did something else on the newest bytes
}

// needed reports whether an append or a reapply comes before an edit that may depend on its place. A Set after one
// stands on an unchanged block only (stands).
func (l *relocation) needed(mine []Edit) bool {
	moved := false
	for i := range mine {
		switch mine[i].kind {
		case KindAppend:
			moved = true
		case KindReapply:
			if moved {
				return true
			}
			moved = true
		case KindAdd, KindMax, KindBits, KindCheck:
			if moved {
				return !mutant.Off(mutant.Relocation)
			}
		}
	}
	return false
}

// begin begins with the bytes that the transaction saw.
func (l *relocation) begin(base []byte) {
	l.own, l.lost, l.appends, l.reapplied = append(l.own[:0], base...), l.lost[:0], false, false
}

// stands reports whether an edit does not depend on what has moved. The place that a reapply has written is not known:
// bytes that it wrote as they were do not show.
func (l *relocation) stands(e *Edit) bool {
	switch e.kind {
	case KindAdd, KindMax, KindBits:
		if l.reapplied && !mutant.Off(mutant.ReappliedPlace) {
			return false
		}
		for _, r := range e.ranges(nil, 0) {
			if slices.ContainsFunc(l.lost, func(o Range) bool { return r.Off < o.End() && o.Off < r.End() }) {
				return false
			}
		}
	case KindCheck, KindReapply: // functions may know the place
		return !l.appends
	}
	return true
}

// keep keeps the result as it is before an edit.
func (l *relocation) keep(e *Edit, result []byte) {
	if e.kind == KindReapply {
		l.before[0] = append(l.before[0][:0], l.own...)
		l.before[1] = append(l.before[1][:0], result...)
	}
}

// follow runs an edit that landed at place on the newest bytes, which is the result now, on the transaction's own.
func (l *relocation) follow(e *Edit, place uint32, result []byte) error {
	seen, err := Apply(l.own, e)
	if err != nil {
		return ErrChanged
	}
	switch {
	case e.kind == KindAppend && seen != place:
		l.appends = true
		l.lost = append(l.lost, Range{seen, uint32(len(e.data))}, Range{place, uint32(len(e.data))})
	case e.kind == KindReapply:
		l.reapplied = l.reapplied || !l.sameChange(result)
	}
	return nil
}

// sameChange reports whether a reapply changed the same bytes to the same values on both.
func (l *relocation) sameChange(result []byte) bool {
	changed := Diff(nil, l.before[0], l.own)
	return slices.Equal(changed, Diff(nil, l.before[1], result)) &&
		!slices.ContainsFunc(changed, func(r Range) bool { return !Unchanged(l.own, result, r) })
}
