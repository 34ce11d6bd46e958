package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
)

// TestStats asks a live mount what it did: over its socket, by Prometheus, and in its ledger.
func TestStats(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ledger := filepath.Join(t.TempDir(), "ledger")
	dir, unmount := mountImage(t, rwImage(t, "32M"), "--rw", "--metrics", address, "--evidence", ledger)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "sync", dir)
	var m daemon.Stats
	if err := json.Unmarshal([]byte(must(t, "stats", "--json", dir).Stdout), &m); err != nil {
		t.Fatal(err)
	}
	done := map[string]int64{}
	for _, o := range m.Operations {
		done[o.Name] = o.Done
	}
	if done["create"] != 1 || done["write"] != 1 || m.Store.Durable != m.Store.Published || m.Store.Flushes == 0 ||
		m.Store.WALBytes == 0 ||
		m.Policy != "merge" {
		t.Errorf("%+v", m)
	}
	if out := must(t, "stats", dir).Stdout; !strings.Contains(out, "create") || !strings.Contains(out, "policy merge") {
		t.Errorf("stats: %s", out)
	}
	r, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.Contains(string(body), "varve_commits_total 2") {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	unmount()
	if p, err := os.ReadFile(ledger); err != nil || !strings.Contains(string(p), `"commit"`) {
		t.Errorf("ledger: %v\n%s", err, p)
	}
	if r := varve(t, "stats", dir); r.Code == 0 {
		t.Error("a folder without a mount has statistics")
	}
}
