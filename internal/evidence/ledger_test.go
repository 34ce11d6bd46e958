package evidence

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/mvcc"
)

func TestLedger_CountsWhatItDrops(t *testing.T) {
	var b bytes.Buffer
	l := NewLedger(&b, 20)
	const reported = 5000
	for range reported {
		l.Observe(mvcc.Event{Kind: mvcc.EventConflict, Block: 7, Edits: "set", Reason: "strict"})
	}
	l.Observe(mvcc.Event{Kind: mvcc.EventPressure, Reason: "oldest snapshot: backup", Count: 9})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := Ask(&b, "contention", Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Events["conflict"] + int(a.Dropped); got != reported || a.Dropped == 0 || a.Dropped != int64(l.Dropped()) {
		t.Errorf("%d taken and %d dropped of %d", a.Events["conflict"], a.Dropped, reported)
	}
	if a.Events["back_pressure"] != 1 {
		t.Error("a rare event was dropped")
	}
}

func TestLedger_NeverBlocks(t *testing.T) {
	l := NewLedger(failing{}, 1<<30)
	began := time.Now()
	for range 100_000 {
		l.Observe(mvcc.Event{Kind: mvcc.EventCommit, Seq: 1})
	}
	if err := l.Close(); err == nil {
		t.Error("a ledger that could not be written was closed without an error")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }

// TestLedger_NoBlock leaves the block out where an event is of none: it would be taken for block 0.
func TestLedger_NoBlock(t *testing.T) {
	for _, kind := range []mvcc.EventKind{mvcc.EventAbort, mvcc.EventContention} {
		if r := recordOf(mvcc.Event{Kind: kind}); r.Block == nil || *r.Block != 0 {
			t.Errorf("%s at block 0: %+v", kind, r)
		}
		if r := recordOf(mvcc.Event{Kind: kind, NoBlock: true}); r.Block != nil {
			t.Errorf("%s at no block: block %d", kind, *r.Block)
		}
	}
}

func TestAsk_Presets(t *testing.T) {
	ledger := `{"time":"2026-01-02T03:04:05Z","event":"conflict","tx":1,"block":7,"edits":"set","reason":"no proof"}
{"time":"2026-01-02T03:04:05Z","event":"merge_applied","tx":2,"block":7,"proof":"counters"}
{"time":"2026-01-02T03:04:05Z","event":"merge_applied","tx":2,"block":9,"proof":"bits"}
{"time":"2026-01-02T03:04:05Z","event":"policy_switched","block":7,"policy":"wait","inputs":{"conflict_rate":1}}
{"time":"2026-01-02T03:04:05Z","event":"wal_recovery","sequence":10,"count":3,"reason":"1 epochs, 2 commits dropped"}
{"time":"2026-01-02T03:04:05Z","event":"flush","sequence":12,"count":1}
{"time":"2026-01-02T03:04:05Z","event":"flush","sequence":11,"count":2}
{"time":"2026-01-02T03:04:05Z","event":"contention_sample","block":0,"inputs":{"conflict_rate":0}}
{"time":"2026-01-02T03:04:05Z","event":"back_pressure","sequence":4,"count":99,"reason":"oldest snapshot: backup"}
{"time":"2026-01-02T03:04:05Z","ev`
	ask := func(p string) Answer {
		a, err := Ask(strings.NewReader(ledger), p, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Malformed) != 1 || a.Malformed[0] != 10 {
			t.Errorf("malformed lines: %v", a.Malformed)
		}
		return a
	}
	if a := ask("contention"); len(a.Blocks) != 2 || a.Blocks[0].Block != 7 || a.Proofs["bits"] != 1 ||
		len(a.Switches) != 1 {
		t.Errorf("contention: %+v", a)
	}
	if a := ask("replay-anomalies"); len(a.Findings) != 2 || !strings.Contains(a.Findings[1], "out of order") {
		t.Errorf("replay-anomalies: %q", a.Findings)
	}
	if a := ask("pressure"); len(a.Findings) != 1 || !strings.Contains(a.Findings[0], "backup") {
		t.Errorf("pressure: %q", a.Findings)
	}
	if _, err := Ask(strings.NewReader("\n"+strings.Repeat("x", maxLine+1)), "contention", Filter{}); err == nil ||
		!strings.Contains(err.Error(), "line 2") {
		t.Errorf("a file that is no ledger: %v", err)
	}
	if _, err := Ask(strings.NewReader(""), "weather", Filter{}); err == nil {
		t.Error("an unknown preset was answered")
	}
}
