package stress

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// crashStates is how many distinct states TestCrash_States explores: VARVE_CRASH_STATES, or few.
func crashStates() int {
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_STATES")); err == nil {
		return n
	}
	return 5000
}

func crashSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano())
}

// TestCrash_States recovers from every crash state of the scenarios, and from those of random workloads until there are
// enough.
func TestCrash_States(t *testing.T) {
	seed := crashSeed()
	t.Logf("repeat with: VARVE_SEED=%d go test -run TestCrash_States ./stress", seed)
	x := NewExplorer(seed, 6, false)
	for _, name := range slices.Sorted(maps.Keys(Scenarios)) {
		if err := x.Scenario(name, Scenarios[name]); err != nil {
			t.Fatal(err)
		}
	}
	scenarios := x.States
	for _, k := range keptSeeds {
		if err := x.Random(k.seed, k.steps); err != nil {
			t.Fatal(err)
		}
	}
	for i := uint64(0); x.States < crashStates() && len(x.Failed) == 0; i++ {
		if err := x.Random(seed+i, 30+int(i%4)*20); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range x.Failed {
		t.Error(f)
	}
	fmt.Printf("crash states: %d distinct, %d of them in %d scenarios\n", x.States, scenarios, len(Scenarios))
	for _, c := range slices.Sorted(maps.Keys(x.Classes)) {
		fmt.Printf("  %7d  %s\n", x.Classes[c], c)
	}
}

// exploreMutant goes through the scenarios and some seeds. With -tags invariants the store itself may report the fault.
func exploreMutant(x *Explorer) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(Scenarios)) {
		if err := x.Scenario(name, Scenarios[name]); err != nil {
			return err
		}
	}
	for seed := uint64(1); seed < 40; seed++ {
		if err := x.Random(seed, 60); err != nil {
			return err
		}
	}
	return nil
}

// keptSeeds once failed. An epoch record that began a segment was taken for a commit, and the next one for missing.
var keptSeeds = []struct {
	seed  uint64
	steps int
}{{1795252399536781699, 90}, {1795252400265735802, 90}, {1795252401530349612, 90}}
