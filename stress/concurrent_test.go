//go:build testhooks

package stress

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

const (
	actors     = 4
	actorSteps = 10
)

// exploreInterleavings runs seeds until so many crash states were explored, or something is wrong.
func exploreInterleavings(t *testing.T, first uint64, states int) (x *Explorer, seeds int) {
	t.Helper()
	x = NewExplorer(first, 3, true)
	for seed := first; x.States < states; seed++ {
		run, _ := interleave(t, seed)
		seeds++
		if run.err != nil {
			x.fail(fmt.Sprintf("seed %d", seed), "while it ran", run.err)
			return x, seeds
		}
		if err := x.explore(run.trace, run.model, fmt.Sprintf("seed %d", seed)); err != nil {
			return x, seeds
		}
	}
	return x, seeds
}

// TestInterleavings cuts concurrent writers, syncs and checkpoints over the native log at any instant, also within a
// flush and between flushes that overlap: what was acknowledged is there, the rest is a prefix of the commits, and a
// second recovery changes nothing.
func TestInterleavings(t *testing.T) {
	states := 1500
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_CONCURRENT")); err == nil {
		states = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		first = n
	}
	t.Logf("repeat with: VARVE_SEED=%d go test -tags testhooks -run '^TestInterleavings$' ./stress", first)
	x, seeds := exploreInterleavings(t, first, states)
	for _, f := range x.Failed {
		t.Error(f)
	}
	fmt.Printf("native log, concurrent: %d crash states of %d interleavings, %d of them inside recovery\n", x.States,
		seeds, x.Classes["inside recovery"])
}

// TestInterleavings_Repeat: a seed makes the same run again.
func TestInterleavings_Repeat(t *testing.T) {
	for seed := range uint64(5) {
		_, one := interleave(t, seed)
		_, two := interleave(t, seed)
		if one != two {
			t.Errorf("seed %d passed other points the second time", seed)
		}
	}
}

// TestInterleavings_Mutants switches promises off: the harness notices each.
func TestInterleavings_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, p := range []mutant.Promise{mutant.W1, mutant.W2, mutant.W6, mutant.W7} {
		mutant.Switch(p)
		x, seeds := exploreInterleavings(t, 1, 20_000)
		mutant.Switch(mutant.None)
		if len(x.Failed) == 0 {
			t.Errorf("%s switched off: not noticed in %d states of %d interleavings", p, x.States, seeds)
			continue
		}
		fmt.Printf("%s switched off: caught after %d states of %d interleavings: %.150s\n", p, x.States, seeds, x.Failed[0])
	}
}

// TestInterleavings_Rejects: what the harness must not let pass.
func TestInterleavings_Rejects(t *testing.T) {
	run, _ := interleave(t, 1)
	x := NewExplorer(1, 3, true)
	if err := x.explore(run.trace, run.model, "seed 1"); err != nil || run.err != nil {
		t.Fatal(err, run.err, x.Failed)
	}
	full := disks{make([]byte, crashBlocks*int(crashBlock)), nil}
	for _, e := range run.trace.Events() {
		if e.Data != nil {
			full.write(e, nil)
		}
	}
	last, _, err := x.recover(full.clone(), 0, run.model)
	if err != nil {
		t.Fatal(err)
	}
	other := full.clone()
	other[crashHome][int(crashBlock)-1] ^= 1 // no commit changes this byte, so that no replay mends it
	for name, c := range map[string]struct {
		disks disks
		acked block.Seq
		why   string
	}{
		"more was acknowledged": {full, last + 1, "was acknowledged as durable"},
		"nothing is there":      {disks{make([]byte, crashBlocks*int(crashBlock)), nil}, 1, "was acknowledged as durable"},
		"a byte is another one": {other, 0, "must be"},
	} {
		if _, _, err := x.recover(c.disks.clone(), c.acked, run.model); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.why)
		}
	}
}
