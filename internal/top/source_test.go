package top

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering serves one answer after the other at /stats, the last one again and again.
func answering(t *testing.T, answers ...string) (address string, end func()) {
	t.Helper()
	at := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(answers[at]))
		at = min(at+1, len(answers)-1)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), s.Close
}

// TestAddress: a run is asked over HTTP; stores come and go, other versions are said, and its end is an end.
func TestAddress(t *testing.T) {
	address, end := answering(t, `{"schema_version":1,"store":null}`,
		`{"schema_version":1,"store":{"commits":7,"hot_blocks":[{"block":3,"count":32}],"new_field":[1]}}`,
		`{"schema_version":2,"store":{"commits":8}}`, `{"schema_version":1,"store":{"commits":"many","aborts":4}}`, `{}`)
	src := Find("http://" + address + "/")
	if src.Name != address {
		t.Errorf("the source is %q", src.Name)
	}
	for _, want := range []struct {
		note            string
		commits, aborts int64
	}{{"no store is open now", 0, 0}, {"", 7, 0}, {"schema version 2", 8, 0}, {"another version", 0, 4},
		{"no store is open now", 0, 0}} {
		s, err := src.Ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st := s.Stats.Store; st.Commits != want.commits || st.Aborts != want.aborts ||
			!strings.Contains(s.Note, want.note) || want.note == "" && s.Note != "" {
			t.Errorf("%q, %d commits, %d aborts; expected %+v", s.Note, st.Commits, st.Aborts, want)
		}
		if want.commits == 7 && (len(s.Stats.Hot) != 1 || s.Stats.Hot[0].Block != 3 || s.Stats.Hot[0].Conflicts != 32) {
			t.Errorf("hot blocks %+v", s.Stats.Hot)
		}
	}
	end()
	if _, err := src.Ask(t.Context()); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), address) {
		t.Errorf("after the end of the run: %v", err)
	}
	if _, err := Find(address).Ask(t.Context()); err == nil || errors.Is(err, ErrEnded) {
		t.Errorf("nobody answered yet: %v", err)
	}
}

// TestAddress_Foreign: what is no run of varve's is an error.
func TestAddress_Foreign(t *testing.T) {
	for _, answer := range []string{"<html>", "[", ""} {
		address, _ := answering(t, answer)
		if _, err := Find(address).Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "no statistics") {
			t.Errorf("%q: %v", answer, err)
		}
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := Find(s.URL).Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a server without /stats: %v", err)
	}
}

// TestAddress_Stuck: a run that answered, and is stuck now, has not ended.
func TestAddress_Stuck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts
	client := &http.Client{Timeout: 50 * time.Millisecond}
	src := ofAddress(l.Addr().String(), client)
	src.answered = true
	if _, err := src.ask(t.Context()); err == nil || errors.Is(err, ErrEnded) ||
		!strings.Contains(err.Error(), "does not answer") {
		t.Errorf("stuck: %v", err)
	}
}

// TestFind: what is no address is a directory.
func TestFind(t *testing.T) {
	for _, dir := range []string{"/mnt", "./a:1", t.TempDir()} {
		if _, err := Find(dir).Ask(t.Context()); err == nil || strings.Contains(err.Error(), "/stats") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
