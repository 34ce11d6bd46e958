package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/evidence"
)

// contend has four programs make and remove files in folders of their own, until their operations have met.
func contend(t *testing.T, dir string) {
	t.Helper()
	for range 50 {
		var all []*exec.Cmd
		for i := range 4 {
			folder := filepath.Join(dir, string(rune('a'+i)))
			fatal(t, os.MkdirAll(folder, 0o755))
			cmd := exec.Command("sh", "-c",
				`cd "$1" && for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo text >f$n; done; rm f*`, "sh", folder)
			fatal(t, cmd.Start())
			all = append(all, cmd)
		}
		for _, cmd := range all {
			fatal(t, cmd.Wait())
		}
		var m daemon.Stats
		fatal(t, json.Unmarshal([]byte(must(t, "stats", "--json", dir).Stdout), &m))
		if m.Store.Merges > 0 {
			return
		}
	}
	t.Fatal("no two operations met")
}

// TestExplain tells what a ledger of a mount has: both operations, and the fields that their edits are about.
func TestExplain(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	dir, unmount := mountImage(t, rwImage(t, "32M"), "--rw", "--evidence", ledger)
	contend(t, dir)
	unmount()
	var out struct{ Stories []evidence.Story }
	fatal(t, json.Unmarshal([]byte(must(t, "explain", "--json", "--last", "1000", ledger).Stdout), &out))
	whole := 0
	for _, s := range out.Stories {
		if s.Came.Operation != nil && s.Met.Operation != nil && s.Block != nil && s.What != "" && len(s.Fields) > 0 &&
			(s.Merged && s.Proof != "" || !s.Merged && s.Reason != "") &&
			strings.HasPrefix(s.Came.Operation.Path+s.Met.Operation.Path, "/") {
			whole++
		}
	}
	if whole == 0 {
		t.Errorf("no story is whole among %d: %+v", len(out.Stories), out.Stories)
	}
	text := must(t, "explain", "--last", "3", ledger).Stdout
	for _, want := range []string{"block ", "  transaction ", "  met transaction ", "    edits "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := must(t, "explain", ledger, "/nowhere").Stdout; text != "no conflicts\n" {
		t.Errorf("of a path without operations: %q", text)
	}
}

// TestExplain_Live listens to a mount.
func TestExplain_Live(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "32M"), "--rw")
	_, next := following(t, "listening", "explain", "--for", "3s", dir)
	contend(t, dir)
	first, ok := next()
	if !ok || first != "no conflicts" && !strings.Contains(first, "block ") {
		t.Errorf("%q", first)
	}
}

// TestExplain_Usage: what cannot be explained is named.
func TestExplain_Usage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger")
	fatal(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{file, "relative"}, "no number and no path"},
		{[]string{file + "x"}, "no such file"},
		{[]string{t.TempDir()}, "mount"},
	} {
		if r := varve(t, append([]string{"explain"}, c.args...)...); r.Code == 0 || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%v: %d, %s", c.args, r.Code, r.Stderr)
		}
	}
}
