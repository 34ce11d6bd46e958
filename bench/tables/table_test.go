package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestPages_AreCurrent compares the tables of the pages with their data files.
func TestPages_AreCurrent(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, page := range pages() {
		have, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		want, err := fill(root, page, have)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != string(want) {
			t.Errorf("%s is not what its data files say: go run ./bench/tables", page)
		}
	}
}

// TestFill_ReplacesTable shows that a page with other figures does not pass, and that text around a table stays.
func TestFill_ReplacesTable(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "cache.md"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(page), "| find, then tar | 26518 |", "| find, then tar | 1 |", 1)
	if wrong == string(page) {
		t.Fatal("the row is not there")
	}
	got, err := fill(root, filepath.Join("docs", "cache.md"), []byte(wrong))
	if err != nil || string(got) != string(page) {
		t.Errorf("the page after filling is another one; %v", err)
	}
	if _, err := fill(root, filepath.Join("docs", "cache.md"), []byte("no marker\n")); err == nil {
		t.Error("a page without a marker passes")
	}
}

func TestMarkdown_Ratios(t *testing.T) {
	records := [][]string{
		{"work", "unit", "kernel", "varve", "goal"},
		{"find", "s", "over 90", "30", "2"},
		{"read", "MB/s", "100", "50", ""},
		{"memory", "MiB", "-", "50", ""},
		{"nothing", "MiB", "0", "50", ""},
	}
	one := table{ratios: []ratio{{"of the kernel", "varve", "kernel"}}}
	got, err := one.markdown(records)
	want := `| work | unit | kernel | varve | of the kernel | goal |
| --- | --- | --- | --- | --- | --- |
| find | s | over 90 | 30 | 3.00 | 2 |
| read | MB/s | 100 | 50 | 0.50 |  |
| memory | MiB | - | 50 | - |  |
| nothing | MiB | 0 | 50 | - |  |
`
	if err != nil || got != want {
		t.Errorf("%v, and this table:\n%s", err, got)
	}
	back, err := one.parse(strings.NewReader("words\n\n" + got + "\n| another | table |\n"))
	if err != nil || !reflect.DeepEqual(back, records) {
		t.Errorf("parsed: %q, %v", back, err)
	}
	for name, bad := range map[string]table{
		"an unknown column": {ratios: []ratio{{"of", "varve", "nowhere"}}},
		"a missing row":     {rows: []string{"find", "absent"}},
	} {
		if _, err := bad.markdown(records); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if _, err := one.parse(strings.NewReader("no table\n")); err == nil {
		t.Error("an input without a table passes")
	}
}

// TestParse_PrintedByMount reads a table as bench/mount prints it, with the lines of make before it.
func TestParse_PrintedByMount(t *testing.T) {
	printed := `go run ./bench/mount -varve bin/varve
| work | unit | kernel | varve | varve is, of kernel | goal |
| --- | --- | --- | --- | --- | --- |
| find, cold | s | 0.2281 | 0.331 | 0.69 times the speed | at most 2 times |
| walk | s | - | 0.55 | - |  |
`
	got, err := table{ratios: mountRatios}.parse(strings.NewReader(printed))
	want := [][]string{
		{"work", "unit", "kernel", "varve", "goal"},
		{"find, cold", "s", "0.2281", "0.331", "at most 2 times"},
		{"walk", "s", "-", "0.55", ""},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
