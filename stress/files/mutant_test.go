//go:build testhooks

package files

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
)

// TestCrash_Mutants switches each promise off on purpose: the explorer, or the check of the journal, must notice. W7 is
// about the native log only; stress has it.
func TestCrash_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	began := time.Now()
	defer func() { fmt.Printf("mutants: %v\n", time.Since(began).Round(time.Second)) }()
	images := map[string][]byte{}
	for _, f := range crashForms {
		images[f.name] = f.image(t)
	}
	reserveFast(t, images["fast_commit"])
	for _, p := range slices.Concat(mutant.Log, mutant.Journal) {
		if p == mutant.W7 {
			continue
		}
		forms := []form{crashForms[0], crashForms[1]}
		switch p {
		// without extents nothing is kept for their nodes: on a full file system only freed blocks are left
		case mutant.J1, mutant.J2, mutant.W4:
			forms = []form{crashForms[4]}
		case mutant.J8:
			forms = []form{crashForms[6]}
		case mutant.J9, mutant.J6:
			forms = forms[1:]
		}
		if _, why := noticed(t, forms, images, p, 3); why != "" {
			t.Errorf("nothing switched off, in the workloads for %v: %s", p, why)
			continue
		}
		mutant.Switch(p)
		states, why := noticed(t, forms, images, p, 40)
		mutant.Switch(mutant.None)
		if why == "" {
			t.Errorf("%v switched off: not noticed in %d states", p, states)
			continue
		}
		fmt.Printf("%v switched off: caught after %d states: %.200s\n", p, states, why)
	}
}

// noticed explores workloads until something is wrong, and says what.
func noticed(
	t *testing.T, forms []form, images map[string][]byte, p mutant.Promise, seeds uint64,
) (states int, why string) {
	for seed := uint64(1); seed <= seeds; seed++ {
		f := forms[int(seed)%len(forms)]
		x := f.explorer(images[f.name], seed, t.TempDir())
		x.Stop, x.Fsck = true, 40
		tr, m, err := f.workload(images[f.name], seed, p)
		if err != nil {
			return states, err.Error()
		}
		if err := CheckJournal(images[f.name], tr); err != nil {
			return states, err.Error()
		}
		if p != mutant.J8 && p != mutant.J9 && p != mutant.J6 {
			_ = x.Explore(images[f.name], tr, m, fmt.Sprintf("%s, seed %d", f.name, seed))
		}
		states += x.States
		if len(x.Failed) > 0 {
			return states, x.Failed[0]
		}
	}
	return states, ""
}

// workload is what is likely to need a promise: random steps, or, for the rules about the journal's room, many of them
// without a sync.
func (f form) workload(image []byte, seed uint64, p mutant.Promise) (*blockcache.Trace, *Model, error) {
	switch p {
	case mutant.J1, mutant.J2, mutant.W4:
		return f.script(image, seed, reuse)
	case mutant.J8, mutant.J9:
		return f.script(image, seed, fill)
	}
	return f.record(image, seed, 60)
}

// TestBeside_Mutant: a log beside an image whose commits do not wait for writes home makes the test fail.
func TestBeside_Mutant(t *testing.T) {
	mutant.Switch(mutant.LogApart)
	defer mutant.Switch(mutant.None)
	f := besideForms[0]
	both, at := f.withLog(t)
	x := f.beside(t, at, 1)
	for seed := uint64(1); seed <= 20 && len(x.Failed) == 0; seed++ {
		tr, m, err := f.besideTrace(both, at, seed, 60)
		if err != nil {
			t.Fatal(err)
		}
		_ = x.Explore(both, tr, m, fmt.Sprintf("seed %d", seed))
	}
	if len(x.Failed) == 0 {
		t.Errorf("not noticed in %d states", x.States)
	}
}
