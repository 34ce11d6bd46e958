package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/program"
	"github.com/varvefs/varve/stress"
)

// TestStress_Short runs every workload by the real program: one line at the end, and nothing lost.
func TestStress_Short(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(program.Path(t), "stress", "--writers", "16", "--duration", "30ms", "--policy", "merge").
		CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "14 workloads, 14 passed, 0 failed\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestStress_JSON checks the fields that docs/cli.md promises, and --device, --evidence and varve evidence with them.
func TestStress_JSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	device, ledger := filepath.Join(dir, "blocks"), filepath.Join(dir, "ledger")
	args := []string{
		"stress",
		"--workload",
		"bank",
		"--policy",
		"all",
		"--isolation",
		"serializable",
		"--writers",
		"8",
		"--durable",
		"--seed",
		"77",
		"--duration",
		"50ms",
		"--device",
		device,
		"--evidence",
		ledger,
		"--json",
	}
	out, err := exec.Command(program.Path(t), args...).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got struct {
		SchemaVersion int              `json:"schema_version"`
		Seed          uint64           `json:"seed"`
		Runs          []map[string]any `json:"runs"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.SchemaVersion != output.SchemaVersion || got.Seed != 77 || len(got.Runs) != 4 {
		t.Errorf("version %d, seed %d, %d runs", got.SchemaVersion, got.Seed, len(got.Runs))
	}
	for _, r := range got.Runs {
		for _, f := range strings.Fields("workload policy writers durable seconds commits commits_per_second " +
			"conflict_rate merge_rate abort_rate wait_rate latency_us fairness expected_loss " +
			"wal_bytes_per_commit lost_updates most_aborts reopened violations") {
			if _, ok := r[f]; !ok {
				t.Errorf("no field %s", f)
			}
		}
		if r["commits"].(float64) == 0 || r["violations"].(float64) > 0 {
			t.Errorf("run %v: %v commits, violations %v", r["policy"], r["commits"], r["violations"])
		}
	}
	out, err = exec.Command(program.Path(t), "stress", "--workload", "bank", "--device", device).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--overwrite") {
		t.Errorf("a file that exists was overwritten: %v %s", err, out)
	}
	for _, preset := range []string{"contention", "replay-anomalies", "pressure"} {
		out, err := exec.Command(program.Path(t), "evidence", ledger, "--preset", preset, "--json").Output()
		if err != nil || !json.Valid(out) || !strings.Contains(string(out), `"commit"`) {
			t.Errorf("evidence %s: %v %s", preset, err, out)
		}
	}
}

// TestStress_Usage: names and numbers that do not exist are usage errors.
func TestStress_Usage(t *testing.T) {
	for _, args := range [][]string{{"--workload", "weather"}, {"--policy", "hope"}, {"--isolation", "none"},
		{"--writers", "0"}, {"--writers", "1025"}, {"--duration", "0s"}} {
		err := exec.Command(program.Path(t), append([]string{"stress"}, args...)...).Run()
		if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestStress_Metrics scrapes a run.
func TestStress_Metrics(t *testing.T) {
	const address = "127.0.0.1:39471"
	cmd := exec.Command(program.Path(t), "stress", "--workload", "zipf", "--policy", "merge", "--writers", "8",
		"--duration", "20s", "--metrics", address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	var body string
	for range 1200 {
		time.Sleep(50 * time.Millisecond)
		if body = get(t, "http://"+address+"/metrics"); strings.Contains(body, "varve_commits_total") {
			break
		}
	}
	found := map[string]bool{}
	for sc := bufio.NewScanner(strings.NewReader(body)); sc.Scan(); {
		if name, _, ok := strings.Cut(sc.Text(), " "); ok && !strings.HasPrefix(name, "#") {
			found[name] = true
		}
	}
	for _, name := range []string{"varve_commits_total", "varve_merges_total", "varve_wal_bytes_total",
		"varve_history_bytes"} {
		if !found[name] {
			t.Errorf("no metric %s in\n%s", name, body)
		}
	}
	var stats struct {
		Store struct {
			Commits int `json:"commits"`
		} `json:"store"`
	}
	if err := json.Unmarshal([]byte(get(t, "http://"+address+"/stats")), &stats); err != nil ||
		stats.Store.Commits == 0 {
		t.Errorf("/stats: %v, %d commits", err, stats.Store.Commits)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStress_Violation: a loss is reported with the command that repeats it, and has an exit code of its own.
func TestStress_Violation(t *testing.T) {
	var out strings.Builder
	f := &stressFlags{cfg: stress.Config{Seed: 77, Duration: time.Second}}
	f.printViolations(
		&out,
		[]stress.Report{
			{
				Workload:   "bank",
				Policy:     "merge",
				Isolation:  "snapshot",
				Writers:    9,
				Durable:    true,
				Violations: 1,
				What:       []string{"money is gone"},
			},
		},
	)
	for _, want := range []string{"money is gone", "varve stress --workload bank --policy merge " +
		"--isolation snapshot --writers 9 --seed 77 --duration 1s --durable"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if code := exitCode(fmt.Errorf("%w: 1 failed", errLost)); code != exitLost {
		t.Errorf("exit code %d", code)
	}
}
