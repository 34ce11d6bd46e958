package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCLI_ManPages and completions are generated.
func TestCLI_ManPages(t *testing.T) {
	dir := t.TempDir()
	must(t, "man", dir)
	page, err := os.ReadFile(filepath.Join(dir, "varve-mount.8"))
	if err != nil || !bytes.Contains(page, []byte("allow_other")) {
		t.Errorf("varve-mount.8: %v", err)
	}
	if !bytes.Contains(page, []byte("\n.EX\nro, rw  ")) {
		t.Error("varve-mount.8: the list of options is a filled paragraph")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := must(t, "completion", shell); !strings.Contains(r.Stdout, "varve") {
			t.Errorf("no completion for %s", shell)
		}
	}
}
