package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/varvefs/varve/internal/output"
)

// TestProgress: where standard error is no terminal, no bar reaches it.
func TestProgress(t *testing.T) {
	r, w, err := os.Pipe()
	fatal(t, err)
	defer r.Close()
	if isTerminal(w) || progress(w) != nil || progress(&bytes.Buffer{}) != nil {
		t.Error("a pipe counts as a terminal")
	}
	bar := newBar(output.NewGuard(w), 10, "check")
	fatal(t, bar.Set(10))
	fatal(t, bar.Clear())
	w.Close()
	var got bytes.Buffer
	if n, err := got.ReadFrom(r); n != 0 || err != nil {
		t.Errorf("%q, %v", got.String(), err)
	}
}
