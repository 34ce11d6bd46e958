package main

import (
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_OutputIsImage refuses to write an archive, a trace or a ledger over the image that is read, by its name, a
// link or a symlink.
func TestCLI_OutputIsImage(t *testing.T) {
	oracle.NeedFUSE(t)
	image, dir := smallImage(t), t.TempDir()
	hard, soft := image+".hard", image+".soft"
	if err := os.Link(image, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(image, soft); err != nil {
		t.Fatal(err)
	}
	before := oracle.HashFile(t, image)
	for _, to := range []string{image, hard, soft} {
		for _, args := range [][]string{
			{"tar", image, "-o", to}, {"mount", image, dir, "-o", "trace=" + to},
			{"mount", "--rw", "--evidence", to, image, dir},
		} {
			if r := program.Run(t, args...); r.Code == exitOK || !strings.Contains(r.Stderr, "itself") {
				t.Errorf("varve %s: %+v", strings.Join(args, " "), r)
			}
			if info, _ := daemon.FindMount(dir); info != nil {
				program.MustRun(t, "umount", dir)
			}
		}
	}
	if oracle.HashFile(t, image) != before {
		t.Error("the image changed")
	}
}
