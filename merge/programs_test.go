package merge

import (
	"bytes"
	"math/rand"
	"testing"
)

// program is a transaction as its author means it: it reads a block, and decides on its edits by what it reads.
type program func(block []byte) ([]Edit, error)

// run runs a program on a block, alone.
func (p program) run(block []byte) ([]Edit, []byte, error) {
	es, err := p(bytes.Clone(block))
	if err != nil {
		return nil, nil, err
	}
	out, err := serial(block, es)
	return es, out, err
}

// randomProgram is an increment by reading and setting, a blind write, an append, or an append with another edit into
// the appended record, or a function that takes the first free record, with an addition to the counter of it, which is
// zero as it was.
func randomProgram(r *rand.Rand) program {
	at, v, kind := uint32(16+r.Intn(4)), byte(1+r.Intn(2)), r.Intn(9)
	record := make([]byte, 4)
	record[3] = v
	return func(b []byte) ([]Edit, error) {
		place := 40 + uint32(used.Get(b))
		add := Append(used, 40, 64, record)
		into := Field{Off: place, Width: 1}
		switch kind {
		case 0:
			return []Edit{Set(at, []byte{b[at] + v})}, nil // read, then written: the range is as it was, or it is a conflict
		case 1:
			return []Edit{SetBlind(at, []byte{v})}, nil
		case 2:
			return []Edit{add}, nil
		case 3:
			return []Edit{add, Add(into, int64(v), 0, 200)}, nil
		case 4:
			return []Edit{add, Max([]Field{into}, []uint64{uint64(v)})}, nil
		case 5:
			return []Edit{add, SetBits(place, uint32(v))}, nil
		case 6:
			return []Edit{add, Check(func(p []byte) bool { return p[place+3] == v })}, nil
		case 7:
			return []Edit{add, Reapply(func(p []byte) error { p[place] = v; return nil })}, nil
		default:
			free := freeSlot(b)
			take := Reapply(func(p []byte) error {
				at := freeSlot(p)
				p[at], p[at+7] = 1, 0
				return nil
			})
			return []Edit{take, Add(Field{Off: free + 7, Width: 1}, int64(v), 0, 200)}, nil
		}
	}
}

// freeSlot is the first record of 8 bytes, from byte 20 on, whose first byte is zero.
func freeSlot(b []byte) uint32 {
	at := uint32(20)
	for at < size && b[at] != 0 {
		at += 8
	}
	return at
}

// then is a program that goes on with q on what p made.
func (p program) then(q program) program {
	return func(b []byte) ([]Edit, error) {
		first, b, err := p.run(b)
		if err != nil {
			return nil, err
		}
		second, err := q(b)
		return append(first, second...), err
	}
}

// randomPrograms is up to n random programs, one after the other in one transaction.
func randomPrograms(r *rand.Rand, n int) program {
	p := randomProgram(r)
	for range r.Intn(n) {
		p = p.then(randomProgram(r))
	}
	return p
}

// TestResolve_Programs: an accepted merge equals running theirs, then mine (M4), as their authors mean them: edits are
// decided on what a transaction sees, and the serial run decides them anew.
func TestResolve_Programs(t *testing.T) {
	if accepted, wrong := programs(t); wrong != "" || accepted < 1000 {
		t.Errorf("%d accepted: %s", accepted, wrong)
	}
}

// programs merges random transactions with up to three others, and returns the first result that is not serial.
func programs(t *testing.T) (accepted int, wrong string) {
	r := rand.New(rand.NewSource(parameters(t).Seed()))
	for range 40_000 {
		base := make([]byte, size)
		theirs, mine := randomPrograms(r, 3), randomPrograms(r, 3)
		_, newest, err := theirs.run(base)
		if err != nil {
			continue // no room
		}
		es, _, err := mine.run(base)
		if err != nil {
			continue
		}
		dst := make([]byte, size)
		if Resolve(dst, base, newest, es, new(Result)) != nil {
			continue
		}
		accepted++
		if _, want, err := mine.run(newest); err != nil || !bytes.Equal(dst, want) {
			return accepted, "mine on theirs gives another block: " + es[len(es)-1].Kind().String()
		}
	}
	return accepted, ""
}
