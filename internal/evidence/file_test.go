package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/varvefs/varve/mvcc"
)

// TestAppend_Twice: a ledger goes on behind what the file holds.
func TestAppend_Twice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	for range 2 {
		f, err := Append(path, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		f.Observe(mvcc.Event{Kind: mvcc.EventCommit, Tx: 7})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := Ask(f, "contention", Filter{})
	if err != nil || a.Records != 2 || a.Events["commit"] != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := Append(filepath.Join(path, "below"), Limits{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a ledger below a file was opened: %v", err)
	}
}
