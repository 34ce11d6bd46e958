package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/program"
)

// TestBench_JSON runs a part of varve bench.
func TestBench_JSON(t *testing.T) {
	t.Parallel() // it waits for flushes
	page := filepath.Join(t.TempDir(), "page.html")
	out, err := exec.Command(program.Path(t), "bench", "--rounds", "1", "--duration", "10ms", "--load",
		"durable, 1 writer", "--html", page, "--json").
		Output()
	if err != nil || !json.Valid(out) || !strings.Contains(string(out), `"varve, merge"`) {
		t.Errorf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "<svg") {
		t.Errorf("the page: %v", err)
	}
}

// TestBench_Usage refuses runs of nothing.
func TestBench_Usage(t *testing.T) {
	checkCommands(t, []commandCase{
		{[]string{"bench", "--rounds", "0"}, exitUsage, "", "more than 0"},
		{[]string{"bench", "--duration", "-1s"}, exitUsage, "", "more than 0"},
		{[]string{"bench", "--rounds", "many"}, exitUsage, "", "see varve bench --help"},
	})
}
