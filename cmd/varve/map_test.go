package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/program"
)

// TestMap_Runs prints the runs of a file with a hole, in both forms.
func TestMap_Runs(t *testing.T) {
	oracle.Need(t, "debugfs")
	image := smallImage(t, "-b", "1024")
	debugfs(t, image, "sif /hello size 5000\n")
	var m struct {
		SchemaVersion int       `json:"schema_version"`
		Path          string    `json:"path"`
		BlockSize     int       `json:"block_size"`
		Runs          []mapping `json:"runs"`
	}
	out := program.MustRun(t, "map", "--json", image, "/hello").Stdout
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if m.SchemaVersion != output.SchemaVersion || m.Path != "/hello" || m.BlockSize != 1024 || len(m.Runs) != 2 ||
		m.Runs[0].Kind != "data" ||
		m.Runs[0].Start == 0 ||
		m.Runs[1] != (mapping{File: 1, Length: 4, Kind: "hole"}) {
		t.Errorf("%+v", m)
	}
	for path, runs := range map[string]int{"/hello": 2, "/link": 0} {
		if r := program.MustRun(t, "map", image, path); strings.Count(r.Stdout, "\n") != runs+1 {
			t.Errorf("%s: %s", path, r.Stdout)
		}
	}
}

// TestMap_ManyRuns prints runs as they are found: three indirect blocks of a crafted image stand for 2^24 runs.
func TestMap_ManyRuns(t *testing.T) {
	oracle.Need(t, "debugfs")
	image := smallImage(t, "-b", "1024")
	debugfs(t, image,
		"sif /hello flags 0\nsif /hello block[0] 0\nsif /hello block[TIND] 15002\nsif /hello size 17000000000\n")
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at, pointer := range map[int64]func(i int) int{
		15000: func(i int) int { return 15000 * (i % 2) }, 15001: func(int) int { return 15000 },
		15002: func(int) int { return 15001 },
	} {
		var p []byte
		for i := range 256 {
			p = binary.LittleEndian.AppendUint32(p, uint32(pointer(i)))
		}
		if _, err := f.WriteAt(p, at*1024); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	for _, flag := range []string{"", "--json"} {
		cmd := exec.Command(program.Path(t), strings.Fields("map "+image+" /hello "+flag)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for in := bufio.NewScanner(out); lines < 20_000 && in.Scan(); {
			lines++
		}
		out.Close() // the program ends by SIGPIPE
		_ = cmd.Wait()
		const most = 256 << 10 // KiB: all of the runs would take more
		if used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; used > most {
			t.Errorf("%s: %d KiB of memory", flag, used)
		}
		if lines < 20_000 {
			t.Errorf("%s: %d lines", flag, lines)
		}
	}
}
