package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAppend_Rotates: a full file is renamed, the oldest goes, and no record is cut.
func TestAppend_Rotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := Append(path, Limits{Bytes: 4096, Files: 3})
	if err != nil {
		t.Fatal(err)
	}
	const all = 400
	for n := range uint64(all) {
		l.file.write(t, Record{Event: "commit", Seq: n})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := Older(path); len(got) != 2 || got[0] != path+".2" || got[1] != path+".1" {
		t.Fatalf("older files: %v", got)
	}
	newest, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenAll(path, newest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []uint64
	if err := Scan(r, func(r Record) error { got = append(got, r.Seq); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || len(got) >= all || got[len(got)-1] != all-1 {
		t.Fatalf("%d records, to %d", len(got), got[len(got)-1])
	}
	for i := range got {
		if got[i] != got[0]+uint64(i) {
			t.Fatalf("record %d follows %d", got[i], got[i-1])
		}
	}
	for _, name := range []string{path, path + ".1", path + ".2"} {
		if info, err := os.Stat(name); err != nil || info.Size() > 4096 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// write writes a record as the ledger does.
func (r *rotated) write(t *testing.T, rec Record) {
	t.Helper()
	rec.Time = time.Unix(0, 0)
	line := fmt.Sprintf("{\"time\":\"2026-01-02T03:04:05Z\",\"event\":%q,\"sequence\":%d}\n", rec.Event, rec.Seq)
	if _, err := r.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
}

// TestAppend_Torn: a line that was left half spoils no other one.
func TestAppend_Torn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(path, []byte("{\"event\":\"commit\"}\n{\"event\":\"com"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Append(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	l.Take(Record{Event: "flush"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Ask(strings.NewReader(string(p)), "contention", Filter{})
	if err != nil || a.Records != 2 || len(a.Malformed) != 1 || a.Events["flush"] != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestFollow goes on with what is appended, with a line that comes in two parts, and with the next file.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := Append(path, Limits{Bytes: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := errors.New("enough")
	l.file.write(t, Record{Event: "commit", Seq: 0})
	next := uint64(0)
	err = Follow(ctx, path, func(r Record) error {
		if r.Seq != next {
			t.Errorf("record %d, want %d", r.Seq, next)
		}
		switch next++; next {
		case 12:
			return enough
		case 5:
			if _, err := l.file.Write([]byte("{\"event\":\"com")); err != nil {
				t.Fatal(err)
			}
			if _, err := l.file.Write([]byte("mit\",\"sequence\":5}\n")); err != nil {
				t.Fatal(err)
			}
		default:
			l.file.write(t, Record{Event: "commit", Seq: next})
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("%v after %d records", err, next)
	}
	if err := Follow(ctx, path+".none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ledger that is not there: %v", err)
	}
}

// TestFilter: each field leaves records out.
func TestFilter(t *testing.T) {
	block, other := uint64(7), uint64(8)
	at := time.Unix(1000, 0)
	conflict := Record{Time: at, Event: "conflict", Block: &block}
	rename := Record{Time: at, Event: EventOperation, Operation: &Operation{Name: "rename", Inode: 5, Path: "/a/b",
		ToPath: "/c/d"}}
	for _, c := range []struct {
		f    Filter
		r    *Record
		want bool
	}{
		{Filter{}, &conflict, true},
		{Filter{Events: []string{"conflict"}}, &conflict, true},
		{Filter{Events: []string{"abort"}}, &conflict, false},
		{Filter{Events: []string{"rename"}}, &rename, true},
		{Filter{Events: []string{EventOperation}}, &rename, true},
		{Filter{Since: at}, &conflict, true},
		{Filter{Since: at.Add(1)}, &conflict, false},
		{Filter{Until: at.Add(-1)}, &conflict, false},
		{Filter{Block: &block}, &conflict, true},
		{Filter{Block: &other}, &conflict, false},
		{Filter{Block: &block}, &rename, false},
		{Filter{Inode: 5}, &rename, true},
		{Filter{Inode: 6}, &rename, false},
		{Filter{Inode: 5}, &conflict, false},
		{Filter{Path: "/a"}, &rename, true},
		{Filter{Path: "/c/d"}, &rename, true},
		{Filter{Path: "/a/bc"}, &rename, false},
		{Filter{Path: "/"}, &conflict, false},
	} {
		if got := c.f.Wants(c.r); got != c.want {
			t.Errorf("%+v of %+v: %v", c.f, c.r, got)
		}
	}
}
