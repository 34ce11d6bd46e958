package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

// TestEvidence answers each question from a ledger.
func TestEvidence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := evidence.Append(path, evidence.Limits{})
	fatal(t, err)
	l.Observe(mvcc.Event{Kind: mvcc.EventCommit, Tx: 1, Seq: 5, Wait: time.Second})
	l.Observe(mvcc.Event{Kind: mvcc.EventConflict, Tx: 1, Block: 7, Reason: "overlap"})
	l.Observe(mvcc.Event{Kind: mvcc.EventAbort, Tx: 1, Block: 7, Reason: "overlap"})
	fatal(t, l.Close())
	checkCommands(t, []commandCase{
		{[]string{"evidence", path}, exitOK, "3 records, 0 events dropped", ""},
		{[]string{"evidence", path}, exitOK, "conflict: 1", ""},
		{[]string{"evidence", path, "--preset", "pressure"}, exitOK, "3 records", ""},
		{[]string{"evidence", path, "--preset", "replay-anomalies"}, exitOK, "3 records", ""},
		{[]string{"evidence", path, "--preset", "weather"}, exitUsage, "", "contention, replay-anomalies, pressure, slowest"},
		{[]string{"evidence", path, "--preset", "slowest"}, exitOK, "transaction 1 waited 1s until commit 5", ""},
		{[]string{"evidence", path, "--event", "abort"}, exitOK, "1 records", ""},
		{[]string{"evidence", path, "--block", "8"}, exitOK, "0 records", ""},
		{[]string{"evidence", path, "--until", "1h"}, exitOK, "0 records", ""},
		{[]string{"evidence", path, "--since", "1h"}, exitOK, "3 records", ""},
		{[]string{"evidence", path, "--since", "yesterday"}, exitUsage, "", "is no time"},
		{[]string{"evidence", path, "--list", "--event", "conflict"}, exitOK, `"event":"conflict","tx":1,"block":7`, ""},
		{[]string{"stress", "--evidence", path, "--evidence-size", "0"}, exitUsage, "", "a size of 0"},
		{[]string{"evidence", path + ".missing"}, exitSystem, "", "no such file"},
		{[]string{"evidence"}, exitUsage, "", "usage: varve evidence FILE"},
	})
	var doc struct {
		Version int `json:"schema_version"`
		evidence.Answer
	}
	parseJSON(t, &doc, "evidence", "--json", path)
	if doc.Version != output.SchemaVersion || doc.Records != 3 || doc.Events["abort"] != 1 {
		t.Errorf("%+v", doc)
	}
}
