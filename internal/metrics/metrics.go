// Package metrics serves the figures of the store that runs now: to Prometheus, and as JSON.
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

// Server serves the figures of one store at a time. It reads them for each request, and costs nothing otherwise.
type Server struct {
	store  atomic.Pointer[mvcc.Store]
	server *http.Server
}

// metric is one figure of a store, in Prometheus' base units. No figure has a block as a label: there may be millions.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(mvcc.Stats) float64
}

func counter(name, help string, of func(mvcc.Stats) float64) metric {
	return metric{prometheus.NewDesc("varve_"+name+"_total", help, nil, nil), prometheus.CounterValue, of}
}

func gauge(name, help string, of func(mvcc.Stats) float64) metric {
	return metric{prometheus.NewDesc("varve_"+name, help, nil, nil), prometheus.GaugeValue, of}
}

var storeMetrics = []metric{
	counter("commits", "Transactions that committed.", func(s mvcc.Stats) float64 { return float64(s.Commits) }),
	counter("conflicts", "Blocks for which a commit found a newer version.",
		func(s mvcc.Stats) float64 { return float64(s.Conflicts) }),
	counter("merges", "Blocks for which a proof let both transactions stand.",
		func(s mvcc.Stats) float64 { return float64(s.Merges) }),
	counter("aborts", "Attempts that lost and were made again.",
		func(s mvcc.Stats) float64 { return float64(s.Aborts) }),
	counter("queue_waits", "Waits in the wait queue of a block.", func(s mvcc.Stats) float64 { return float64(s.Waits) }),
	counter("policy_switches", "Times that the policy of a block was switched.",
		func(s mvcc.Stats) float64 { return float64(s.Switches) }),
	counter("versions_collected", "Versions that no snapshot needed any more.",
		func(s mvcc.Stats) float64 { return float64(s.Collected) }),
	counter("held_back", "Commits that waited for room in the log or in memory.",
		func(s mvcc.Stats) float64 { return float64(s.HeldBack) }),
	counter("wal_bytes", "Bytes written to the log.", func(s mvcc.Stats) float64 { return float64(s.WALBytes) }),
	counter("wal_flushes", "Epochs that became durable.", func(s mvcc.Stats) float64 { return float64(s.Flushes) }),
	counter("wal_flush_seconds", "Time that ending epochs took.", func(s mvcc.Stats) float64 { return s.FlushSeconds }),
	gauge("chains", "Blocks with versions in memory.", func(s mvcc.Stats) float64 { return float64(s.Chains) }),
	gauge("history_versions", "Old versions that are kept for snapshots.",
		func(s mvcc.Stats) float64 { return float64(s.History) }),
	gauge("history_bytes", "Memory of the old versions.",
		func(s mvcc.Stats) float64 { return float64(s.HistoryBytes) }),
	gauge("wal_pressure_ratio", "Share of the log's space in use.", func(s mvcc.Stats) float64 { return s.Pressure }),
	gauge("undurable_commits", "Commits that are visible and not durable.",
		func(s mvcc.Stats) float64 { return float64(s.Published) - float64(s.Durable) }),
	gauge("expected_loss_strict_seconds", "Expected loss a commit under strict.",
		func(s mvcc.Stats) float64 { return s.Losses.Strict }),
	gauge("expected_loss_merge_seconds", "Expected loss a commit under merge.",
		func(s mvcc.Stats) float64 { return s.Losses.Merge }),
	gauge("expected_loss_wait_seconds", "Expected loss a commit under wait.",
		func(s mvcc.Stats) float64 { return s.Losses.Wait }),
}

// Describe follows prometheus.Collector.
func (m *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range storeMetrics {
		ch <- f.desc
	}
}

// Collect follows prometheus.Collector.
func (m *Server) Collect(ch chan<- prometheus.Metric) {
	s := m.store.Load()
	if s == nil {
		return
	}
	st := s.Stats()
	for _, f := range storeMetrics {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(st))
	}
}

// AddressError is the error of an address on which nothing can be served.
type AddressError struct{ Err error }

func (e *AddressError) Error() string {
	return fmt.Sprintf("--metrics: %v; give an address such as 127.0.0.1:9100", e.Err)
}

func (e *AddressError) Unwrap() error { return e.Err }

// Serve begins to serve on an address: /metrics for Prometheus, /stats as JSON.
func Serve(ctx context.Context, address string) (*Server, error) {
	m := &Server{}
	reg := prometheus.NewRegistry()
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &AddressError{err}
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		out := struct {
			SchemaVersion int         `json:"schema_version"`
			Store         *mvcc.Stats `json:"store"`
		}{SchemaVersion: output.SchemaVersion}
		if s := m.store.Load(); s != nil {
			st := s.Stats()
			out.Store = &st
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := m.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "varve: metrics:", err)
		}
	}()
	return m, nil
}

// Watch makes a store the one whose figures are served.
func (m *Server) Watch(s *mvcc.Store) { m.store.Store(s) }

// Close ends the server.
func (m *Server) Close() { _ = m.server.Close() }
