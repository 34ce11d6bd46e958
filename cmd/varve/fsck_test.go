package main

import (
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestFsck_Damage breaks one thing after the other with debugfs: the checker finds each, with e2fsck, and calls the
// whole image clean before.
func TestFsck_Damage(t *testing.T) {
	oracle.Need(t, "debugfs")
	for what, commands := range map[string]string{
		"a link count":          "sif /dir links_count 7",
		"a block marked free":   "freeb 50",
		"a block marked used":   "setb 3000",
		"a free inode":          "freei /dir/file",
		"an inode marked used":  "seti <100>",
		"a missing entry":       "unlink /dir/file",
		"a count of blocks":     "sif /dir/file blocks 99",
		"the size of a file":    "sif /dir/file size 1",
		"a type":                "sif /dir/file mode 0010644",
		"a group's free blocks": "set_bg 0 free_blocks_count 1",
		"a group's directories": "set_bg 0 used_dirs_count 9",
		"a time of deletion":    "sif /dir/file dtime 5",
		"an extent's place":     "sif /dir/file block[3] 77777777",
		"a directory's block":   "sif /dir block[5] 1",
	} {
		t.Run(what, func(t *testing.T) {
			image := rwImage(t, "16M", "-b", "1024")
			prepare := "mkdir /dir\nwrite /etc/services /dir/file\ncd /dir\nwrite /etc/services second\n"
			debugfs(t, image, prepare)
			if r := varve(t, "fsck", "-f", image); r.Code != 0 {
				t.Fatalf("before: %+v", r)
			}
			debugfs(t, image, commands+"\n")
			if exec.Command("e2fsck", "-fn", image).Run() == nil {
				t.Fatalf("e2fsck does not see it: %s", commands)
			}
			if r := varve(t, "fsck", "-f", "-n", image); r.Code != fsckErrors || r.Stdout == "" {
				t.Errorf("%+v", r)
			}
			var report fsckReport
			if err := json.Unmarshal([]byte(varve(t, "fsck", "--force", "--json", image).Stdout), &report); err != nil ||
				report.Clean ||
				len(report.Problems) == 0 {
				t.Errorf("JSON: %v, %+v", err, report)
			}
		})
	}
}

func debugfs(t *testing.T, image, commands string) {
	t.Helper()
	cmd := exec.Command("debugfs", "-w", "-f", "-", image)
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
}

// TestFsck_Exit are the exit codes and words of fsck(8).
func TestFsck_Exit(t *testing.T) {
	image := rwImage(t, "16M")
	if r := varve(t, "fsck", image); r.Code != 0 || !strings.Contains(r.Stdout, "--force") {
		t.Errorf("without --force: %+v", r)
	}
	if r := varve(t, "fsck", "-y", image); r.Code != fsckUsage || !strings.Contains(r.Stderr, "does not repair") {
		t.Errorf("-y: %+v", r)
	}
	if r := varve(t, "fsck", image+".missing"); r.Code != fsckFailed {
		t.Errorf("no image: %+v", r)
	}
}

// TestFsck_ExitCodes are those of fsck(8): there 1 says that errors were repaired, and 2 that the machine needs a
// restart.
func TestFsck_ExitCodes(t *testing.T) {
	image := smallImage(t)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"fsck"}, fsckUsage}, {[]string{"fsck", "--nonsense", image}, fsckUsage},
		{[]string{"fsck", image, image}, fsckUsage}, {[]string{"fsck", "-y", image}, fsckUsage},
		{[]string{"fsck", image + ".missing"}, fsckFailed}, {[]string{"fsck", "--part", "1", image}, fsckFailed},
		{[]string{"fsck", "-f", image}, exitOK},
	} {
		if r := program.Run(t, c.args...); r.Code != c.code {
			t.Errorf("varve %s: %+v; expected %d", strings.Join(c.args, " "), r, c.code)
		}
	}
}

// TestFsck_Interrupted ends a check by the command's context, which the first signal ends.
func TestFsck_Interrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"fsck", "-f", smallImage(t)})
	if err := root.ExecuteContext(ctx); fsckCode(err) != fsckInterrupted {
		t.Errorf("%v: exit code %d, expected %d", err, fsckCode(err), fsckInterrupted)
	}
}
