package merge

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/leanovate/gopter"
	"github.com/leanovate/gopter/gen"
	"github.com/leanovate/gopter/prop"
)

const size = 64

// parameters prints the seed of a run, and takes one from VARVE_SEED.
func parameters(t *testing.T) *gopter.TestParameters {
	seed := time.Now().UnixNano()
	if s := os.Getenv("VARVE_SEED"); s != "" {
		seed, _ = strconv.ParseInt(s, 10, 64)
	}
	t.Logf("repeat with: VARVE_SEED=%d go test -run '^%s$' ./merge", seed, t.Name())
	p := gopter.DefaultTestParametersWithSeed(seed)
	p.MinSuccessfulTests = 20_000
	return p
}

var counter = Field{Off: 4, Width: 2}
var stamp = []Field{{Off: 8, Width: 4, Signed: true}, {Off: 12, Width: 4, Shift: 2}}
var used = Field{Off: 2, Width: 2}

// randomEdit makes an edit of one of the given kinds, often in conflict with another one.
func randomEdit(r *rand.Rand, from []Kind) Edit {
	data := make([]byte, 1+r.Intn(4))
	for i := range data {
		data[i] = byte(r.Intn(3))
	}
	switch k := from[r.Intn(len(from))]; k {
	case KindSet, KindExtent:
		e := Set(uint32(16+r.Intn(12)), data)
		e.kind = k
		return e
	case KindAppend:
		return Append(used, 40, 56, data)
	case KindAdd:
		return Add(counter, int64(r.Intn(7)-3), 0, uint64(2+r.Intn(8)))
	case KindMax:
		return Max(stamp, []uint64{uint64(r.Intn(3) - 1), uint64(r.Intn(3))})
	case KindBits:
		e := SetBits(30, uint32(r.Intn(16)))
		e.set = r.Intn(2) == 0
		return e
	case KindCheck:
		at, v := 16+r.Intn(12), byte(r.Intn(3))
		return Check(func(b []byte) bool { return b[at] != v })
	case KindReapply:
		v := byte(1 + r.Intn(3))
		return Reapply(func(b []byte) error { // the first free byte, each value once
			if bytes.IndexByte(b[56:], v) >= 0 {
				return ErrCheck
			}
			i := bytes.IndexByte(b[56:], 0)
			if i < 0 {
				return ErrRoom
			}
			b[56+i] = v
			return nil
		})
	default:
		whole := make([]byte, size)
		r.Read(whole)
		return Whole(whole)
	}
}

func randomBlock(r *rand.Rand) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Intn(3))
	}
	used.Put(b, uint64(r.Intn(8)))
	counter.Put(b, uint64(r.Intn(6)))
	return b
}

// randomTransaction makes edits that can be applied to base in turn, with the block that results.
func randomTransaction(r *rand.Rand, base []byte, from []Kind) ([]Edit, []byte) {
	var es []Edit
	view := bytes.Clone(base)
	for range 1 + r.Intn(3) {
		e := randomEdit(r, from)
		next := bytes.Clone(view)
		if _, err := Apply(next, &e); err == nil {
			es, view = append(es, e), next
		}
	}
	return es, view
}

// serial runs edits one after the other by Apply alone.
func serial(block []byte, es []Edit) ([]byte, error) {
	b := bytes.Clone(block)
	for i := range es {
		if _, err := Apply(b, &es[i]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func forAll(t *testing.T, name string, law func(r *rand.Rand) bool) {
	t.Helper()
	p := gopter.NewProperties(parameters(t))
	p.Property(name, prop.ForAll(func(seed int64) bool { return law(rand.New(rand.NewSource(seed))) }, gen.Int64()))
	p.TestingRun(t, gopter.NewFormatedReporter(false, 120, os.Stdout))
}

var allKinds = []Kind{KindSet, KindExtent, KindAppend, KindAdd, KindMax, KindBits, KindCheck, KindReapply, KindWhole}
var fieldKinds = []Kind{KindSet, KindAdd, KindMax, KindBits}

// TestResolve_Serial: an accepted merge equals theirs, then mine (M4), and its ranges are the whole difference (W7).
func TestResolve_Serial(t *testing.T) {
	accepted, refused := 0, 0
	forAll(t, "accepted merges are serial", func(r *rand.Rand) bool {
		base := randomBlock(r)
		_, newest := randomTransaction(r, base, allKinds)
		mine, _ := randomTransaction(r, base, allKinds)
		dst, res := make([]byte, size), Result{}
		if err := Resolve(dst, base, newest, mine, &res); err != nil {
			refused++
			return true
		}
		accepted++
		want, err := serial(newest, mine)
		delta := bytes.Clone(newest)
		for _, rg := range res.Ranges {
			copy(delta[rg.Off:rg.End()], dst[rg.Off:rg.End()])
		}
		return err == nil && bytes.Equal(dst, want) && bytes.Equal(delta, want)
	})
	if accepted < 1000 || refused < 1000 {
		t.Errorf("%d accepted and %d refused: the generator tests too little", accepted, refused)
	}
}

// TestResolve_NoFalseConflicts: what is refused of set, add, max and bits is a real conflict: with some values of the
// fields the two serial orders differ, or one of them fails.
func TestResolve_NoFalseConflicts(t *testing.T) {
	refused := 0
	forAll(t, "refused merges differ", func(r *rand.Rand) bool {
		base := randomBlock(r)
		theirs, newest := randomTransaction(r, base, fieldKinds)
		mine, _ := randomTransaction(r, base, fieldKinds)
		if len(theirs) != 1 || len(mine) != 1 {
			return true
		}
		dst := make([]byte, size)
		if Resolve(dst, base, newest, mine, new(Result)) == nil {
			return true
		}
		refused++
		for range 500 {
			b := randomBlock(r)
			theirs, mine := vary(r, theirs), vary(r, mine)
			one, err1 := serialBoth(b, theirs, mine)
			two, err2 := serialBoth(b, mine, theirs)
			if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
				return true
			}
		}
		return false
	})
	if refused < 50 {
		t.Errorf("only %d were refused: the generator tests too little", refused)
	}
}

// vary gives edits other values for the same fields and ranges.
func vary(r *rand.Rand, es []Edit) []Edit {
	out := slices.Clone(es)
	for i := range out {
		e := &out[i]
		e.data = bytes.Clone(e.data)
		for j := range e.data {
			e.data[j] = byte(r.Intn(3))
		}
		if e.kind == KindAdd {
			e.delta = int64(r.Intn(7) - 3)
		}
	}
	return out
}

func serialBoth(b []byte, first, second []Edit) ([]byte, error) {
	b, err := serial(b, first)
	if err != nil {
		return nil, err
	}
	return serial(b, second)
}

// TestResolve_Associative: merges of set, add, max and bits give one result in every order and grouping in which they
// are all accepted; appends keep the order, but not the grouping.
func TestResolve_Associative(t *testing.T) {
	merge := func(base, newest []byte, es []Edit) []byte {
		dst := make([]byte, size)
		if Resolve(dst, base, newest, es, new(Result)) != nil {
			return nil
		}
		return dst
	}
	all := 0
	forAll(t, "merge is associative", func(r *rand.Rand) bool {
		from := fieldKinds
		if r.Intn(2) == 0 {
			from = []Kind{KindAppend}
		}
		base := randomBlock(r)
		a, blockA := randomTransaction(r, base, from)
		b, blockB := randomTransaction(r, base, from)
		c, _ := randomTransaction(r, base, from)
		left := merge(base, blockA, b)
		if left == nil {
			return true
		}
		left = merge(base, left, c) // (a b) c
		right := merge(base, blockB, c)
		if right == nil || left == nil {
			return true
		}
		right = merge(base, blockA, append(slices.Clone(b), c...)) // a (b c)
		if right == nil {
			return true
		}
		all++
		if !bytes.Equal(left, right) {
			return false
		}
		if from[0] == KindAppend {
			return true
		}
		swapped := merge(base, blockB, a) // b a c
		if swapped != nil {
			swapped = merge(base, swapped, c)
		}
		return swapped == nil || bytes.Equal(swapped, left)
	})
	if all < 1000 {
		t.Errorf("only %d triples: the generator tests too little", all)
	}
}

// TestResolve_Verdicts has a pair that stands and one that doesn't for each type of edit.
func TestResolve_Verdicts(t *testing.T) {
	base := make([]byte, size)
	counter.Put(base, 3)
	base[16] = 9
	mine := func(e ...Edit) []Edit { return e }
	change := func(e Edit) []byte {
		b, err := serial(base, mine(e))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	insert := Reapply(func(b []byte) error {
		if b[56] != 0 {
			return ErrRoom
		}
		b[56] = 1
		return nil
	})
	for name, c := range map[string]struct {
		theirs Edit
		mine   []Edit
		want   error
		proof  string
	}{
		"set, disjoint":        {Set(20, []byte{1}), mine(Set(21, []byte{2})), nil, "independent-keys"},
		"set, overlapping":     {Set(20, []byte{1, 1}), mine(Set(21, []byte{2})), ErrChanged, ""},
		"set, identical":       {Set(20, []byte{1}), mine(Set(20, []byte{1})), ErrChanged, ""},
		"set blind, identical": {Set(20, []byte{1}), mine(SetBlind(20, []byte{1})), nil, "independent-keys"},
		"set blind, different": {Set(20, []byte{1}), mine(SetBlind(20, []byte{2})), ErrChanged, ""},
		"extents":              {Extent(20, []byte{1}), mine(Extent(24, []byte{2})), nil, "non-overlapping-extents"},
		"append": {Append(used, 40, 56, []byte("abc")), mine(Append(used, 40, 56, []byte("de"))), nil,
			"append-only"},
		"append, full": {Append(used, 40, 56, make([]byte, 15)), mine(Append(used, 40, 56, []byte("de"))),
			ErrRoom, ""},
		"add":                  {Add(counter, 1, 0, 9), mine(Add(counter, 2, 0, 9)), nil, "counters"},
		"add, over the bound":  {Add(counter, 1, 0, 9), mine(Add(counter, 2, 0, 5)), ErrBounds, ""},
		"add, under the bound": {Add(counter, -2, 0, 9), mine(Add(counter, -2, 0, 9)), ErrBounds, ""},
		"max":                  {Max(stamp, []uint64{5, 6}), mine(Max(stamp, []uint64{5, 4})), nil, "timestamp-only"},
		"bits, neighbours":     {SetBits(30, 1), mine(SetBits(30, 2)), nil, "bits"},
		"bits, the same":       {SetBits(30, 1), mine(SetBits(30, 1)), ErrAsserted, ""},
		"check holds": {Set(20, []byte{1}), mine(Check(func(b []byte) bool { return b[16] == 9 })), nil,
			"check"},
		"check fails": {Set(16, []byte{1}), mine(Check(func(b []byte) bool { return b[16] == 9 })), ErrCheck,
			""},
		"check panics": {Set(16, []byte{1}), mine(Check(func(b []byte) bool { return b[size] == 9 })), ErrPanic,
			""},
		"reapply":                 {Set(57, []byte{1}), mine(insert), nil, "reapply"},
		"reapply, taken":          {insert, mine(insert), ErrRoom, ""},
		"whole":                   {Set(20, []byte{1}), mine(Whole(make([]byte, size))), ErrChanged, ""},
		"whole, then set":         {Set(20, []byte{1}), mine(Whole(make([]byte, size)), Set(40, []byte{1})), ErrChanged, ""},
		"set, then add elsewhere": {Set(20, []byte{1}), mine(Set(20, []byte{7}), Add(counter, 1, 0, 9)), ErrChanged, ""},
		"set after a reapply":     {Set(20, []byte{1}), mine(insert, Set(40, []byte{7})), ErrChanged, ""},
		"two kinds":               {Set(20, []byte{1}), mine(SetBits(30, 1), Add(counter, 1, 0, 9)), nil, "counters+bits"},
		"timestamps and a counter": {Max(stamp, []uint64{5, 6}), mine(Max(stamp, []uint64{6, 0}), Add(counter, 1, 0, 9)), nil,
			"timestamp-only+counters"},
	} {
		t.Run(name, func(t *testing.T) {
			var r Result
			dst := make([]byte, size)
			err := Resolve(dst, base, change(c.theirs), c.mine, &r)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && r.Proof.String() != c.proof {
				t.Errorf("proof %v, want %s", r.Proof, c.proof)
			}
		})
	}
	var r Result
	if err := Resolve(make([]byte, size), base, base, mine(Whole(make([]byte, size))), &r); err != nil ||
		r.Proof != DisjointBlocks {
		t.Errorf("whole on an unchanged block: %v, %v", r.Proof, err)
	}
}

// TestApply_Refuses has a malformed edit of each type: an error, and the block as it was.
func TestApply_Refuses(t *testing.T) {
	block := make([]byte, size)
	far := Field{Off: size - 1, Width: 4}
	for name, e := range map[string]Edit{
		"set":            Set(size-1, []byte{1, 2}),
		"set, overflow":  Set(^uint32(0), []byte{1, 2}),
		"append, field":  Append(far, 0, 8, []byte{1}),
		"append, limit":  Append(used, 0, size+1, []byte{1}),
		"append, start":  Append(used, 9, 8, []byte{1}),
		"add, field":     Add(far, 1, 0, 9),
		"add, width":     Add(Field{Off: 0, Width: 3}, 1, 0, 9),
		"add, bits":      Add(Field{Off: 0, Width: 1, Shift: 4, Bits: 5}, 1, 0, 9),
		"max, field":     Max([]Field{far}, []uint64{1}),
		"max, values":    Max(stamp, []uint64{1}),
		"bits":           SetBits(size-1, 0, 8),
		"bits, the half": SetBits(0, 1, 1),
		"whole":          Whole([]byte{1}),
		"reapply panics": Reapply(func(b []byte) error { return errors.New(string(b[:size+len(b)])) }),
		"no kind":        {kind: kinds},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Apply(block, &e); err == nil {
				t.Error("it was applied")
			}
			if !bytes.Equal(block, make([]byte, size)) {
				t.Error("the block has changed")
			}
		})
	}
}

func TestDiff_Ranges(t *testing.T) {
	forAll(t, "a difference is exact", func(r *rand.Rand) bool {
		a := randomBlock(r)
		b := bytes.Clone(a)
		for range r.Intn(4) {
			b[r.Intn(size)]++
		}
		got := bytes.Clone(a)
		last := uint32(0)
		for _, rg := range Diff(nil, a, b) {
			if rg.Len == 0 || last > 0 && rg.Off <= last {
				return false
			}
			last = rg.End()
			copy(got[rg.Off:last], b[rg.Off:last])
		}
		return bytes.Equal(got, b)
	})
}

func BenchmarkResolve(b *testing.B) {
	base, newest, dst := make([]byte, 4096), make([]byte, 4096), make([]byte, 4096)
	newest[0] = 1
	es := []Edit{Set(64, make([]byte, 32))}
	var r Result
	b.ReportAllocs()
	for b.Loop() {
		if err := Resolve(dst, base, newest, es, &r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestResolve_SetIsOneField: two sets of one range that agree in some bytes only are in conflict, even where each byte
// alone is unchanged or agreed on: a reader of the field would see a value that was replaced unseen.
func TestResolve_SetIsOneField(t *testing.T) {
	base, newest := make([]byte, size), make([]byte, size)
	base[20], base[21] = 1, 6
	newest[20], newest[21] = 2, 6
	if err := Resolve(make([]byte, size), base, newest, []Edit{Set(20, []byte{2, 8})}, new(Result)); !errors.Is(
		err,
		ErrChanged,
	) {
		t.Errorf("got %v", err)
	}
}

// TestResolve_EqualWhole: a Whole of the bytes that the block has is a change of all of them, so that it reaches the
// device, whatever that has there.
func TestResolve_EqualWhole(t *testing.T) {
	block, dst := bytes.Repeat([]byte{7}, 64), make([]byte, 64)
	var r Result
	if err := Resolve(dst, block, block, []Edit{Whole(bytes.Clone(block))}, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Ranges) != 1 || r.Ranges[0] != (Range{0, 64}) || !bytes.Equal(dst, block) {
		t.Errorf("ranges %v", r.Ranges)
	}
}
