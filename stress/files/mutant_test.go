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
	e := experiment{images: map[string][]byte{}, plain: map[string]string{}}
	for _, f := range []form{crashForms[0], crashForms[1], crashForms[4], crashForms[6]} {
		e.images[f.name] = f.image(t)
	}
	reserveFast(t, e.images["fast_commit"])
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
		mutant.Switch(p)
		states, seeds, why := e.noticed(t, forms, p, 40)
		mutant.Switch(mutant.None)
		if why == "" {
			t.Errorf("%v switched off: not noticed in %d states", p, states)
			continue
		}
		if why := e.sound(t, forms, p, seeds); why != "" {
			t.Errorf("nothing switched off, in the workloads for %v: %s", p, why)
			continue
		}
		fmt.Printf("%v switched off: caught after %d states: %.200s\n", p, states, why)
	}
}

// experiment is what mutants share: the images, and what was wrong with workloads where nothing is switched off.
type experiment struct {
	images map[string][]byte
	plain  map[string]string // by form, kind of workload and seed
}

// sound explores the same workloads with nothing switched off, and says what is wrong.
func (e experiment) sound(t *testing.T, forms []form, p mutant.Promise, seeds uint64) string {
	for seed := uint64(1); seed <= seeds; seed++ {
		f := forms[int(seed)%len(forms)]
		key := fmt.Sprint(f.name, workloadFor(p), p == mutant.W5, exploredFor(p), seed)
		if _, ok := e.plain[key]; !ok {
			_, e.plain[key] = e.seed(t, f, p, seed)
		}
		if e.plain[key] != "" {
			return e.plain[key]
		}
	}
	return ""
}

// noticed explores workloads until something is wrong, and says what, and after how many states and seeds.
func (e experiment) noticed(
	t *testing.T, forms []form, p mutant.Promise, most uint64,
) (states int, seed uint64, why string) {
	for seed = 1; seed <= most; seed++ {
		n, why := e.seed(t, forms[int(seed)%len(forms)], p, seed)
		if states += n; why != "" {
			return states, seed, why
		}
	}
	return states, seed, ""
}

// seed explores one workload. Only W5 is about crashes inside recovery.
func (e experiment) seed(t *testing.T, f form, p mutant.Promise, seed uint64) (states int, why string) {
	image := e.images[f.name]
	x := f.explorer(image, seed, t.TempDir())
	x.Stop, x.Fsck = true, 40
	if p != mutant.W5 {
		x.Inside = 0
	}
	tr, m, err := f.workload(image, seed, p)
	if err == nil {
		err = CheckJournal(image, tr)
	}
	if err != nil {
		return 0, err.Error()
	}
	if exploredFor(p) {
		_ = x.Explore(image, tr, m, fmt.Sprintf("%s, seed %d", f.name, seed))
	}
	if len(x.Failed) > 0 {
		why = x.Failed[0]
	}
	return x.States, why
}

// exploredFor reports whether crash states show that a promise is broken; of the others the journal does.
func exploredFor(p mutant.Promise) bool { return p != mutant.J8 && p != mutant.J9 && p != mutant.J6 }

// scripts are the workloads of promises that random steps seldom need.
var scripts = map[string]func(*Workload) error{"reuse": reuse, "fill": fill}

// workloadFor names the workload that is likely to need a promise: random steps, or, for the rules about the journal's
// room, many of them without a sync.
func workloadFor(p mutant.Promise) string {
	switch p {
	case mutant.J1, mutant.J2, mutant.W4:
		return "reuse"
	case mutant.J8, mutant.J9:
		return "fill"
	}
	return "random"
}

func (f form) workload(image []byte, seed uint64, p mutant.Promise) (*blockcache.Trace, *Model, error) {
	if do := scripts[workloadFor(p)]; do != nil {
		return f.script(image, seed, do)
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
