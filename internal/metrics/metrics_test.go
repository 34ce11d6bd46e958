package metrics

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/enginetest"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

// serve begins a server at an address that is free.
func serve(t *testing.T) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	m, err := Serve(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, "http://" + address
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	p, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, r.Status, err)
	}
	return string(p)
}

// TestServe serves the figures of the store that is watched, and no figure before there is one.
func TestServe(t *testing.T) {
	m, url := serve(t)
	if p := get(t, url+"/metrics"); strings.Contains(p, "varve_") {
		t.Errorf("figures of no store:\n%s", p)
	}
	var doc struct {
		Version int         `json:"schema_version"`
		Store   *mvcc.Stats `json:"store"`
	}
	if err := json.Unmarshal([]byte(get(t, url+"/stats")), &doc); err != nil || doc.Store != nil ||
		doc.Version != output.SchemaVersion {
		t.Errorf("%v, %+v", err, doc)
	}
	store := enginetest.Open(t, mvcc.Options{})
	err := store.Update(t.Context(), func(tx *mvcc.Tx) error { return tx.WriteNew(3, make([]byte, 4096)) })
	if err != nil {
		t.Fatal(err)
	}
	m.Watch(store)
	p := get(t, url+"/metrics")
	for _, f := range storeMetrics {
		name := strings.Split(f.desc.String(), `"`)[1]
		if !strings.Contains(p, "\n"+name+" ") {
			t.Errorf("no figure %s", name)
		}
	}
	if !strings.Contains(p, "\nvarve_commits_total 1\n") {
		t.Errorf("the commits are not 1 in\n%s", p)
	}
	if err := json.Unmarshal([]byte(get(t, url+"/stats")), &doc); err != nil || doc.Store == nil ||
		doc.Store.Commits != 1 {
		t.Errorf("%v, %+v", err, doc)
	}
}

// TestServe_Address: an address on which nothing can be served is an error that names an address which can.
func TestServe_Address(t *testing.T) {
	_, url := serve(t)
	for _, bad := range []string{strings.TrimPrefix(url, "http://"), "nonsense", "127.0.0.1:99999"} {
		_, err := Serve(t.Context(), bad)
		if e := (*AddressError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "127.0.0.1:9100") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
