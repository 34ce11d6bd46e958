package evidence

import (
	"bytes"
	"os"
	"testing"
)

// tell tells the stories of a ledger with two conflicts: transaction 7 met commit 4, and merged; transaction 9 met
// commit 5 (that of 7), lost, and committed as 6.
func tell(t *testing.T, s Selection) []Story {
	t.Helper()
	ledger, err := os.ReadFile("testdata/story.ledger")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Stories(func(do func(Record) error) error { return Scan(bytes.NewReader(ledger), do) }, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStories: a conflict has both transactions, their commits and operations, and what came of it.
func TestStories(t *testing.T) {
	all := tell(t, Selection{})
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	merged, lost := all[0], all[1]
	if !merged.Merged || merged.Proof != "counters" || merged.Came.Tx != 7 || merged.Came.Commit != 5 ||
		merged.Came.Operation.Path != "/b/old" || merged.Met.Tx != 3 || merged.Met.Operation.Path != "/a/new" ||
		merged.Fields[0] != "mtime of inode 2" {
		t.Errorf("%+v", merged)
	}
	if lost.Merged || lost.Reason != "the bytes changed" || lost.Came.Commit != 6 || lost.Lost != 1 ||
		lost.Waited != 0.5 || lost.Met.Tx != 7 || lost.Met.Operation.Name != "unlink" {
		t.Errorf("%+v", lost)
	}
	for _, c := range []struct {
		choose Selection
		blocks []uint64
	}{
		{Selection{Last: 1}, []uint64{41}},
		{Selection{Number: 40}, []uint64{40}},
		{Selection{Number: 3}, []uint64{40}},
		{Selection{Number: 7}, []uint64{40, 41}},
		{Selection{Number: 6}, []uint64{41}},
		{Selection{Number: 1000}, nil},
		{Selection{Path: "/a"}, []uint64{40, 41}},
		{Selection{Path: "/a/new"}, []uint64{40}},
		{Selection{Path: "/a/ne"}, nil},
	} {
		got := tell(t, c.choose)
		if len(got) != len(c.blocks) {
			t.Errorf("%+v: %+v", c.choose, got)
			continue
		}
		for i := range got {
			if *got[i].Block != c.blocks[i] {
				t.Errorf("%+v: block %d, want %d", c.choose, *got[i].Block, c.blocks[i])
			}
		}
	}
}
