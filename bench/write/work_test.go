package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// TestWorks_Complete checks the plan: each row has a name of its own, a unit, and targets that exist, varve among them.
func TestWorks_Complete(t *testing.T) {
	var known []string
	for _, x := range targets {
		known = append(known, x.name)
	}
	seen := map[string]bool{}
	for _, w := range works {
		if w.name == "" || w.unit == "" || w.run == nil || seen[w.name] || !slices.Contains(w.targets, "varve") {
			t.Errorf("%q is not complete, or is there twice", w.name)
		}
		seen[w.name] = true
		for _, name := range w.targets {
			if !slices.Contains(known, name) {
				t.Errorf("%q names the target %q, and there is none", w.name, name)
			}
		}
	}
}

// TestSteps_LeaveNames runs the steps of the rows in a folder: unlinked files are gone, a renamed one is there once.
func TestSteps_LeaveNames(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		if err := errors.Join(createUnlink(dir, 1, i), rename(dir, 2, i)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := filepath.Join(dir, "t2-b"); err != nil || len(names) != 1 || names[0] != want {
		t.Errorf("%v, %v; want %s", names, err, want)
	}
}

// TestThreads_Directories runs threads in one folder and in folders of their own, and reports an error of one of them.
func TestThreads_Directories(t *testing.T) {
	for _, own := range []bool{false, true} {
		b := &bench{dir: t.TempDir()}
		var mu sync.Mutex
		dirs := map[string]bool{}
		failed := errors.New("no more")
		rate, err := threads(3, own, func(dir string, _, i int) error {
			mu.Lock()
			defer mu.Unlock()
			dirs[dir] = true
			if i == 4 {
				return failed
			}
			return nil
		})(b, "")
		if want := map[bool]int{false: 1, true: 3}[own]; len(dirs) != want || !errors.Is(err, failed) || rate <= 0 {
			t.Errorf("own %v: %d folders, rate %v, %v", own, len(dirs), rate, err)
		}
	}
}

func TestMakeTar_Files(t *testing.T) {
	b := &bench{folder: t.TempDir()}
	path := filepath.Join(b.folder, "tree.tar")
	if err := makeTar(b, path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := 0
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files++
		}
	}
	if files != 20000 {
		t.Errorf("%d files; the rate of untar is computed from 20000", files)
	}
}

// TestAbortsOf_Sum takes the counts of all operations from the program's answer.
func TestAbortsOf_Sum(t *testing.T) {
	program := filepath.Join(t.TempDir(), "stats")
	b := &bench{varve: program, dir: "/mnt"}
	answer := func(text string) {
		if err := os.WriteFile(program, []byte("#!/bin/sh\ncat <<'END'\n"+text+"\nEND\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	answer(`{"operations": [{"name": "write", "aborts": 40}, {"name": "create", "aborts": 2}]}`)
	if n, err := abortsOf(b); n != 42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	answer(`no JSON`)
	if _, err := abortsOf(b); err == nil {
		t.Error("an answer without JSON passes")
	}
}
