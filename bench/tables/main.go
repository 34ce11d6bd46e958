// Command tables writes the benchmark tables of the pages from the data files in docs/bench, and stores what a
// benchmark printed as such a file.
package main

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	store := flag.String("store", "", "read a printed table from standard input into the data file of this `name`")
	root := flag.String("root", ".", "the `folder` of the repository")
	flag.Parse()
	if err := run(*root, *store); err != nil {
		fmt.Fprintln(os.Stderr, "bench/tables:", err)
		os.Exit(1)
	}
}

func run(root, store string) error {
	if store != "" {
		return storeTable(root, store)
	}
	for _, page := range pages() {
		path := filepath.Join(root, page)
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := fill(root, page, old)
		if err != nil {
			return err
		}
		if bytes.Equal(old, text) {
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
		fmt.Println("written:", page)
	}
	return nil
}

// storeTable makes a data file of the first table on standard input.
func storeTable(root, name string) error {
	for _, t := range tables {
		if t.name != name {
			continue
		}
		records, err := t.parse(os.Stdin)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		if err := w.WriteAll(records); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, t.file()), b.Bytes(), 0o644)
	}
	return fmt.Errorf("no table has the name %q", name)
}
