package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// TestRecord_Fields: a line has what the event has, and leaves out what does not apply.
func TestRecord_Fields(t *testing.T) {
	for name, c := range map[string]struct {
		event mvcc.Event
		want  string // without its time
	}{
		"commit": {mvcc.Event{Kind: mvcc.EventCommit, Tx: 7, Seq: 9, Policy: "merge"},
			`{"event":"commit","tx":7,"sequence":9,"policy":"merge"}`},
		"conflict at block 0": {mvcc.Event{Kind: mvcc.EventConflict, Tx: 7, Edits: "set+add", Reason: "strict"},
			`{"event":"conflict","tx":7,"block":0,"edits":"set+add","reason":"strict"}`},
		"conflict at no block": {mvcc.Event{Kind: mvcc.EventConflict, NoBlock: true}, `{"event":"conflict"}`},
		"merge": {mvcc.Event{Kind: mvcc.EventMergeApplied, Block: 3, Proof: "counters"},
			`{"event":"merge_applied","block":3,"proof":"counters"}`},
		"flush": {mvcc.Event{Kind: mvcc.EventFlush, Seq: 2, Count: 1, Wait: 1500 * time.Millisecond},
			`{"event":"flush","sequence":2,"wait_seconds":1.5,"count":1}`},
	} {
		line, err := json.Marshal(recordOf(c.event))
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil || fields["time"] == nil {
			t.Fatalf("%s: %s, %v", name, line, err)
		}
		_, got, _ := bytes.Cut(line, []byte(","))
		if "{"+string(got) != c.want {
			t.Errorf("%s: %s, want %s", name, line, c.want)
		}
	}
}

// fullDisk is a writer that fails.
type fullDisk struct{}

var errFull = errors.New("disk full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestLedger_FailedWriter: a ledger whose file is full drops events, keeps no commit waiting, and reports the error at
// its close.
func TestLedger_FailedWriter(t *testing.T) {
	l := NewLedger(fullDisk{}, 1<<30)
	e := mvcc.Event{Kind: mvcc.EventFlush, Reason: strings.Repeat("x", 1000)}
	for range 4 * queueSize {
		l.Observe(e)
	}
	if err := l.Close(); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "ledger") {
		t.Errorf("close: %v", err)
	}
	if l.Dropped() == 0 {
		t.Error("no event was dropped")
	}
}

// TestAsk_Bounds: an answer has the most contended blocks first, and is short for a ledger of any length.
func TestAsk_Bounds(t *testing.T) {
	var b strings.Builder
	for n := range 300 {
		for range n%7 + 1 {
			fmt.Fprintf(&b, "{\"event\":\"conflict\",\"block\":%d}\n", n)
		}
		fmt.Fprintf(&b, "{\"event\":\"policy_switched\",\"block\":%d}\n", n)
		fmt.Fprintf(&b, "{\"event\":\"back_pressure\",\"reason\":\"snapshot %d\"}\n", n)
	}
	b.WriteString(`{"event":"dropped","count":5}` + "\n" + `{"event":"dropped","count":6}` + "\n")
	a, err := Ask(strings.NewReader(b.String()), "contention", Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Blocks) != 20 || a.Blocks[0].Block != 6 || a.Blocks[0].Conflicts != 7 || a.Blocks[19].Block != 6+19*7 {
		t.Errorf("blocks %+v", a.Blocks)
	}
	if len(a.Switches) != 100 || a.Dropped != 11 || a.Events["conflict"] == 0 || len(a.Malformed) != 0 {
		t.Errorf("%d switches, %d dropped, malformed %v", len(a.Switches), a.Dropped, a.Malformed)
	}
	if a, err = Ask(strings.NewReader(b.String()), "pressure", Filter{}); err != nil || len(a.Findings) != 200 {
		t.Errorf("%d findings, %v", len(a.Findings), err)
	}
}
