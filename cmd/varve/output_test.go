package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_FullOutput writes to a full device: what was asked for is not there, and every command says so by its exit
// code.
func TestCLI_FullOutput(t *testing.T) {
	image := smallImage(t)
	for _, args := range [][]string{
		{"ls", image}, {"ls", "-l", image}, {"ls", "--json", image}, {"cat", image, "/hello"},
		{"stat", image, "/hello"}, {"tree", image}, {"tree", "--json", image},
		{"tar", image}, {"tar", image, "-o", "/dev/full"}, {"info", image}, {"info", "--json", image},
		{"map", image, "/hello"}, {"map", "--json", image, "/hello"},
		{"fsck", image}, {"fsck", "-f", "--json", image}, {"version"}, {"--help"}, {"completion", "bash"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program.Path(t), args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		_ = cmd.Run()
		full.Close()
		want := exitSystem
		if args[0] == "fsck" {
			want = fsckFailed
		}
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("varve %s: exit code %d, %q; expected %d", strings.Join(args, " "), code, stderr.String(), want)
		}
	}
}

// TestCLI_DamagedNames lists what cannot be read as well as it can be, and says that it is damaged by the exit code.
func TestCLI_DamagedNames(t *testing.T) {
	oracle.Need(t, "debugfs")
	link := smallImage(t)
	debugfs(t, link, "sif /link size 0\n")
	plain := corrupt(t, smallImage(t, "-O", "^metadata_csum"), func(p []byte) {
		binary.LittleEndian.PutUint32(p[bytes.Index(p, []byte("\x05\x01inner"))-6:], 4000) // a free inode
	})
	for _, args := range [][]string{
		{"ls", "-l", plain, "/dir"}, {"ls", plain, "/dir"}, {"ls", "--json", plain, "/dir"}, {"tree", plain},
		{"ls", "-l", link}, {"ls", "--json", link}, {"stat", link, "/link"}, {"stat", "--json", link, "/link"},
		{"tree", link}, {"tree", "--json", link},
	} {
		if r := program.Run(t, args...); r.Code != exitDamaged || r.Stdout == "" {
			t.Errorf("varve %s: %+v", strings.Join(args, " "), r)
		}
	}
}
