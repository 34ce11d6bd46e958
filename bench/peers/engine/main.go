// Command engine compares varve's store with bbolt, badger and pebble, each in two forms: a block of 4 KiB as one
// value, and a slot of 32 bytes as one value, which is what users of a key-value store would choose.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/varvefs/varve/bench/engine"
	"github.com/varvefs/varve/mvcc"
)

func main() {
	rounds := flag.Int("rounds", 3, "interleaved rounds; medians are printed")
	duration := flag.Duration("duration", time.Second, "length of one run")
	only := flag.String("load", "", "only loads whose names contain this")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if err := run(*rounds, *duration, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func makers() []engine.Maker {
	return []engine.Maker{
		engine.Varve(mvcc.Merge), engine.Varve(mvcc.Adaptive), engine.Map(), engine.Limit(),
		pebbleMaker("pebble, a lock a block", "block"),
		bboltMaker("bbolt", "block", 0),
		bboltMaker("bbolt Batch", "block", 10*time.Millisecond),
		bboltMaker("bbolt Batch, 1 ms", "block", time.Millisecond),
		badgerMaker("badger", "block"),
		pebbleMaker("pebble, a lock a slot", "slot"),
		pebbleMergeMaker(),
		bboltMaker("bbolt Batch, 1 ms", "slot", time.Millisecond),
		badgerMaker("badger", "slot"),
	}
}

type cell struct {
	load, engine, form string
	per                []float64
	results            []engine.Result
}

func run(rounds int, d time.Duration, only string, asJSON bool) error {
	var cells []*cell
	index := map[string]*cell{}
	for round := range rounds {
		for _, l := range engine.Loads() {
			if !strings.Contains(l.Name, only) {
				continue
			}
			for _, m := range makers() {
				if m.Skip != nil && m.Skip(l) {
					continue
				}
				key := l.Name + m.Name + m.Form
				c := index[key]
				if c == nil {
					c = &cell{load: l.Name, engine: m.Name, form: m.Form}
					index[key] = c
					cells = append(cells, c)
				}
				fmt.Fprintf(os.Stderr, "\r\033[Kround %d of %d: %s: %s", round+1, rounds, l.Name, m.Name)
				res, err := one(m, l, d, uint64(round))
				if err != nil {
					return err
				}
				c.per = append(c.per, res.PerSecond)
				c.results = append(c.results, res)
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	if asJSON {
		return printJSON(cells)
	}
	return print(cells)
}

func one(m engine.Maker, l engine.Load, d time.Duration, seed uint64) (engine.Result, error) {
	dir, err := os.MkdirTemp("", "varve-bench-")
	if err != nil {
		return engine.Result{}, err
	}
	defer os.RemoveAll(dir)
	return engine.Run(m, l, dir, d, seed)
}

// best is the best peer's rate under a load, in a form.
func best(cells []*cell, load, form string) float64 {
	most := 0.0
	for _, c := range cells {
		if c.load == load && c.form == form && !strings.HasPrefix(c.engine, "varve") {
			most = max(most, engine.Median(c.per))
		}
	}
	return most
}

func print(cells []*cell) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	load := ""
	for _, c := range cells {
		if c.load != load {
			load = c.load
			fmt.Fprintf(w, "\n%s\t\t\t\t\t\t\t\t\n", load)
			fmt.Fprintln(w,
				"  store\tform\tcommits/s\tspread\tvarve is\taborts a commit\tlog bytes a commit\t"+
					"p99.9 us\tfairness\tviews/s\tview p99.9 us")
		}
		var ab, lb, p, f, v, vp []float64
		for _, r := range c.results {
			v, vp = append(v, r.Reads), append(vp, r.ReadP999)
			ab, lb, p, f = append(ab, r.Aborts), append(lb, r.LogBytes), append(p, r.P999), append(f, r.Fairness)
		}
		ours := 0.0
		for _, o := range cells {
			if o.load == c.load && o.engine == "varve, merge" {
				ours = engine.Median(o.per)
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%.0f\t%.0f%%\t%.2f times\t%.3f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\n", c.engine, c.form,
			engine.Median(c.per), 100*engine.Spread(c.per), ours/max(engine.Median(c.per), 1),
			engine.Median(ab), engine.Median(lb), engine.Median(p), engine.Median(f), engine.Median(v), engine.Median(vp))
	}
	return w.Flush()
}

func printJSON(cells []*cell) error {
	type row struct {
		Load    string          `json:"load"`
		Engine  string          `json:"engine"`
		Form    string          `json:"form"`
		Median  float64         `json:"commits_per_second"`
		Spread  float64         `json:"spread"`
		Best    float64         `json:"best_peer_commits_per_second"`
		Results []engine.Result `json:"results"`
	}
	var rows []row
	for _, c := range cells {
		rows = append(rows, row{c.load, c.engine, c.form, engine.Median(c.per), engine.Spread(c.per),
			best(cells, c.load, "block"), c.results})
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
