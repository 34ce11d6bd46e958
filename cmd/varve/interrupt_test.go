package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestMount_Interrupted ends a command while it waits for an image that may be in use: nothing is mounted then or
// later, and the exit code says why.
func TestMount_Interrupted(t *testing.T) {
	t.Parallel()
	oracle.NeedFUSE(t)
	for _, args := range [][]string{{"mount", "--rw"}, {"mount", "-f", "--rw"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel() // each waits for 22 s, and does nothing
			image, dir := oracle.NewImage(t, 16<<20, "-O", "mmp"), t.TempDir()
			program.MustRun(t, "mount", "--rw", image, dir)
			for _, daemon := range program.DaemonsOf(t, dir) { // a crash leaves the image marked
				pid, err := strconv.Atoi(filepath.Base(daemon))
				if err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, func() bool { return len(program.DaemonsOf(t, dir)) == 0 })
			program.MustRun(t, "umount", dir)
			cmd := exec.Command(program.Path(t), append(args, image, dir)...)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }() // where the test fails: otherwise it has ended
			said := bufio.NewReader(stderr)
			if line, err := said.ReadString('\n'); err != nil || !strings.Contains(line, "may be in use") {
				t.Fatalf("%q, %v", line, err)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			rest, _ := said.ReadString(0)
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit code %d: %s", code, rest)
			}
			if info, _ := daemon.FindMount(dir); info != nil {
				t.Error("it is mounted")
				program.MustRun(t, "umount", dir)
			}
			if left := program.DaemonsOf(t, dir); len(left) != 0 {
				t.Errorf("%v still run", left)
			}
		})
	}
}
