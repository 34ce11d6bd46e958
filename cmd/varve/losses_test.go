package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/stress"
)

func lossReports(strict, merge float64, l mvcc.Losses, durable bool) []stress.Report {
	return []stress.Report{{Policy: "strict", CommitsPerSecond: strict, Writers: 120, Durable: durable},
		{Policy: "merge", CommitsPerSecond: merge, Writers: 120, Durable: durable, Losses: l}}
}

var ratioOf = regexp.MustCompile(`(measured|predict) ([0-9.e+]+) times`)

// ratios are the ratios that are printed, by what they are called.
func ratios(t *testing.T, reports []stress.Report) map[string]float64 {
	t.Helper()
	var out strings.Builder
	printLoss(&out, reports)
	found := map[string]float64{}
	for _, m := range ratioOf.FindAllStringSubmatch(out.String(), -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		found[m[1]] = v
	}
	if n := strings.Count(out.String(), " times"); n != len(found) {
		t.Errorf("%d ratios, %v of them known: %s", n, found, out.String())
	}
	return found
}

// TestPrintLoss_Contradicted: a bitmap of which nearly all conflicts merge, where merge was 1.11 times faster: what
// says 1,712.9 is not printed.
func TestPrintLoss_Contradicted(t *testing.T) {
	got := ratios(
		t,
		lossReports(
			400_000,
			444_000,
			mvcc.Losses{ConflictRate: 0.6, MergeSuccess: 0.9994, AbortCost: 18e-6, MergeCost: 2e-7,
				Strict: 10.8e-6, Merge: 0.13e-6},
			false,
		),
	)
	if len(got) != 1 || got["measured"] != 1.11 {
		t.Errorf("printed: %v", got)
	}
}

// TestPrintLoss_Agrees: where the rates bear it out the prediction is printed.
func TestPrintLoss_Agrees(t *testing.T) {
	l := mvcc.Losses{
		ConflictRate: 0.5,
		MergeSuccess: 1,
		AbortCost:    1e-6,
		MergeCost:    2e-7,
		Strict:       0.5e-6,
		Merge:        0.1e-6,
	}
	got := ratios(t, lossReports(1_000_000, 1_100_000, l, false))
	if got["measured"] != 1.1 || got["predict"] < 1.1 || got["predict"] > 1.3 {
		t.Errorf("printed: %v", got)
	}
	if got := ratios(t, lossReports(1_000_000, 1_100_000, l, true)); len(got) != 1 {
		t.Errorf("printed of durable commits: %v", got)
	}
}

// TestPrintLoss_AnyFigures: with any measurement, a printed prediction is on the measured side of one, and near it.
func TestPrintLoss_AnyFigures(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	printed := 0
	for range 2000 {
		power := func(low, high float64) float64 { return math.Pow(10, low+(high-low)*rng.Float64()) }
		strict := power(3, 7)
		l := mvcc.Losses{ConflictRate: rng.Float64(), Strict: power(-9, -4), Merge: power(-9, -4)}
		reports := lossReports(strict, strict*power(-0.5, 0.5), l, false)
		got := ratios(t, reports)
		want, ok := got["predict"]
		if !ok {
			continue
		}
		printed++
		const rounding = 0.011
		if m := got["measured"]; (want-1)*(m-1) < -rounding || want > agreement*m+rounding ||
			m > agreement*want+rounding {
			t.Errorf("seed %d: %v for %s", seed, got, fmt.Sprint(reports))
		}
	}
	if printed == 0 {
		t.Error("no prediction was ever printed")
	}
}
