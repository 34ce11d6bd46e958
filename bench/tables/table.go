package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// table is a table of a page. Its measured columns are in a data file; its ratios are computed from them.
type table struct {
	page, name string
	ratios     []ratio
	rows       []string // the rows that are shown; all of them where nil
}

// ratio is a column: how many times as good the column of is as the column to.
type ratio struct{ title, of, to string }

var (
	mountRatios = []ratio{{"varve, of the kernel", "varve", "kernel"}, {"of fuse2fs", "varve", "fuse2fs"}}
	idleRatios  = []ratio{{"of read-only", "read-write", "read-only"}, {"of loopback", "read-write", "loopback"}}
	openRatios  = []ratio{
		{"of read-only", "read-write, no_open", "read-only"}, {"of loopback", "read-write, no_open", "loopback"},
	}
	writeRatios = []ratio{
		{"varve, of the kernel", "varve", "kernel"}, {"of null", "varve", "null daemon"},
		{"of loopback", "varve", "loopback"}, {"of fuse2fs", "varve", "fuse2fs"},
	}
)

var tables = []table{
	{page: "README.md", name: "mount", ratios: mountRatios, rows: []string{
		"find, cold", "find, warm", "ls -l of 50,000, cold", "ls -l of 50,000, warm", "tar, cold", "tar, warm",
		"sequential 1 MiB reads, cold", "sequential 1 MiB reads, image cached",
		"random 4 KiB reads, image cached, 1 job", "random 4 KiB reads, image cached, 8 jobs",
		"open, read, close, 8 threads, first time", "command to first answer, cold",
	}},
	{page: "docs/bench-mount.md", name: "mount", ratios: mountRatios},
	{page: "docs/bench-mount.md", name: "mount-idle", ratios: idleRatios},
	{page: "docs/bench-mount.md", name: "mount-no-open", ratios: openRatios},
	{page: "docs/bench-write.md", name: "write", ratios: writeRatios},
	{page: "docs/bench-write.md", name: "write-arbitration"},
	{page: "docs/bench-write.md", name: "write-memory"},
	{page: "docs/bench-engine.md", name: "engine"},
	{page: "docs/bench-engine.md", name: "engine-durable"},
	{page: "docs/bench-engine.md", name: "engine-policies"},
	{page: "docs/bench-engine.md", name: "engine-losses"},
	{page: "docs/cache.md", name: "cache"},
}

// pages are the pages that have tables.
func pages() (out []string) {
	for _, t := range tables {
		if !slices.Contains(out, t.page) {
			out = append(out, t.page)
		}
	}
	return out
}

func (t table) file() string { return filepath.Join("docs", "bench", t.name+".csv") }

func (t table) begin() string { return "<!-- table " + t.file() + ", by go run ./bench/tables -->" }

const end = "<!-- end of table -->"

// fill replaces what is between the markers of each table of a page.
func fill(root, page string, text []byte) ([]byte, error) {
	s := string(text)
	for _, t := range tables {
		if t.page != page {
			continue
		}
		before, rest, ok := strings.Cut(s, t.begin()+"\n")
		_, after, ended := strings.Cut(rest, end+"\n")
		if !ok || !ended {
			return nil, fmt.Errorf("%s has no place for a table: %q and %q, each on a line", page, t.begin(), end)
		}
		f, err := os.Open(filepath.Join(root, t.file()))
		if err != nil {
			return nil, err
		}
		records, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.file(), err)
		}
		lines, err := t.markdown(records)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.file(), err)
		}
		s = before + t.begin() + "\n\n" + lines + "\n" + end + "\n" + after
	}
	return []byte(s), nil
}

// markdown is the table with its ratios, which come before the goals.
func (t table) markdown(records [][]string) (string, error) {
	if len(records) < 2 {
		return "", fmt.Errorf("no rows")
	}
	head := records[0]
	at := slices.Index(head, "goal")
	if at < 0 {
		at = len(head)
	}
	titles := make([]string, len(t.ratios))
	for i, r := range t.ratios {
		titles[i] = r.title
	}
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(slices.Insert(slices.Clone(head), at, titles...))
	line(slices.Repeat([]string{"---"}, len(head)+len(titles)))
	shown := 0
	for _, rec := range records[1:] {
		if t.rows != nil && !slices.Contains(t.rows, rec[0]) {
			continue
		}
		shown++
		cells := make([]string, len(t.ratios))
		for i, r := range t.ratios {
			of, to := slices.Index(head, r.of), slices.Index(head, r.to)
			if of < 0 || to < 0 {
				return "", fmt.Errorf("there is no column %q or %q", r.of, r.to)
			}
			cells[i] = times(unit(head, rec), rec[of], rec[to])
		}
		line(slices.Insert(slices.Clone(rec), at, cells...))
	}
	if t.rows != nil && shown != len(t.rows) {
		return "", fmt.Errorf("%d of %d rows are there", shown, len(t.rows))
	}
	return b.String(), nil
}

func unit(head, rec []string) string {
	if i := slices.Index(head, "unit"); i >= 0 {
		return rec[i]
	}
	return ""
}

// times is how many times as good one figure is as another: as fast, or as small.
func times(unit, of, to string) string {
	a, okA := figure(of)
	b, okB := figure(to)
	if !okA || !okB {
		return "-"
	}
	if slices.Contains([]string{"s", "ms", "us", "ns", "MiB"}, unit) {
		a, b = b, a
	}
	return fmt.Sprintf("%.2f", a/b)
}

// figure is the number of a cell. A run that was cut off has "over" before it.
func figure(cell string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimPrefix(cell, "over "), 64)
	return f, err == nil && f > 0
}

// parse reads a printed table, and leaves its ratios out.
func (t table) parse(r io.Reader) (records [][]string, err error) {
	var keep []int
	in := bufio.NewScanner(r)
	for in.Scan() {
		line, ok := strings.CutPrefix(strings.TrimSpace(in.Text()), "| ")
		if !ok {
			if records != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if strings.HasPrefix(cells[0], "---") {
			continue
		}
		if keep == nil {
			for i, c := range cells {
				if t.ratios == nil || !strings.HasPrefix(c, "of ") && !strings.Contains(c, ", of ") {
					keep = append(keep, i)
				}
			}
		}
		rec := make([]string, len(keep))
		for i, k := range keep {
			if k >= len(cells) {
				return nil, fmt.Errorf("a row has %d cells: %q", len(cells), line)
			}
			rec[i] = cells[k]
		}
		records = append(records, rec)
	}
	if len(records) < 2 {
		return nil, fmt.Errorf("there is no table on standard input")
	}
	return records, in.Err()
}
