// Package process runs programs for the benchmarks of mounts, and reads their figures in /proc.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Run runs a program to its end. Its output is in the error.
func Run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Of lists the processes that run one of the programs, as folders of /proc, each once.
func Of(programs ...string) (out []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, program := range programs {
		want, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		want, _ = filepath.EvalSymlinks(want)
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && strings.TrimSuffix(to, " (deleted)") == want {
				out = append(out, filepath.Dir(l))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Ended waits until no process runs a program: umount(2) returns before a FUSE daemon has ended.
func Ended(program string) error {
	for range 3000 {
		if len(Of(program)) == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not end", program)
}

// Resident is the anonymous memory of the processes that run one of the programs, in MiB: without what they map of
// files.
func Resident(programs ...string) (mib float64) {
	for _, p := range Of(programs...) {
		status, _ := os.ReadFile(filepath.Join(p, "status"))
		_, rest, _ := strings.Cut(string(status), "RssAnon:")
		if f := strings.Fields(rest); len(f) > 0 {
			kb, _ := strconv.ParseFloat(f[0], 64)
			mib += kb / 1024
		}
	}
	return mib
}
