package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestIOPS_Reports(t *testing.T) {
	const report = `{"jobs": [{"read": {"iops": 0.5}, "write": {"iops": 2120.25, "bw": 1}}]}`
	for direction, want := range map[string]float64{"read": 0.5, "write": 2120.25} {
		if got, err := IOPS([]byte("note: both iodepth and sync engine\n"+report), direction); err != nil || got != want {
			t.Errorf("%s: %v, %v", direction, got, err)
		}
	}
	for name, out := range map[string]string{
		"nothing":       "",
		"a note":        "fio: no such file",
		"half a report": report[:30],
		"no jobs":       `{"jobs": []}`,
		"two groups":    `{"jobs": [{"write": {"iops": 1}}, {"write": {"iops": 2}}]}`,
		"no direction":  `{"jobs": [{"read": {"iops": 1}}]}`,
		"no rate":       `{"jobs": [{"write": {"bw": 1}}]}`,
	} {
		if got, err := IOPS([]byte(out), "write"); err == nil {
			t.Errorf("%s passes as %v", name, got)
		}
	}
}

func TestRun_Failure(t *testing.T) {
	if err := Run("true"); err != nil {
		t.Error(err)
	}
	err := Run("sh", "-c", "echo the reason >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error: %v", err)
	}
}

// TestOf_Program copies a program, so that no other process runs it, and follows one process of it from start to end.
func TestOf_Program(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "own-cat")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Of(program, "no-such-program-anywhere"); len(got) != 0 || Resident(program) != 0 {
		t.Errorf("before its start: %v, %v MiB", got, Resident(program))
	}
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got, want := Of(program, program), filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid)); len(got) != 1 ||
		got[0] != want {
		t.Errorf("running: %v instead of %s", got, want)
	}
	if mib := Resident(program); mib <= 0 || mib > 64 {
		t.Errorf("%v MiB are resident", mib)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := Ended(program); err != nil {
		t.Error(err)
	}
}
