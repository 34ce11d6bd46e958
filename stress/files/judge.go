package files

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/varvefs/varve/blockcache"
)

// judge has e2fsck recover a copy. It must find nothing wrong but what recovery is there for, and come to the same
// tree.
func (x *Explorer) judge(img blockcache.Device, want State) error {
	path := filepath.Join(x.Dir, "state")
	if err := writeFile(path, img); err != nil {
		return err
	}
	out, err := exec.Command("e2fsck", "-fy", path).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		return fmt.Errorf("e2fsck -fy: %w\n%s", err, out)
	}
	if bad := complaints(string(out)); bad != "" {
		if strandsValues(string(out), bad) {
			return nil
		}
		return fmt.Errorf("e2fsck -fy had to mend: %s", bad)
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck -fn: %w\n%s", err, out)
	}
	got, err := imageTree(path)
	if err != nil {
		return err
	}
	return Same(want, got)
}

// strandsValues reports whether e2fsck 1.47 found nothing but inodes that orphans had their attributes in: it frees the
// orphans, and takes no reference from their values. Such a state is varve's and the kernel's to recover.
func strandsValues(out, bad string) bool {
	if !strings.Contains(out, "Clearing orphaned inode") {
		return false
	}
	for part := range strings.SplitSeq(bad, "; ") {
		if !strings.HasPrefix(part, "Unattached inode ") && !strings.HasPrefix(part, "Connect to /lost+found?") &&
			!strings.HasPrefix(part, "Inode ") && !strings.HasPrefix(part, "Extended attribute inode ") {
			return false
		}
	}
	return true
}

// complaints are the lines of e2fsck that are not about replaying the journal and finishing orphans. When e2fsck 1.47
// frees an orphan with a block of attributes, it does not take that from the quotas, and complains a moment later.
func complaints(out string) string {
	var bad []string
	orphans := strings.Contains(out, "Clearing orphaned inode")
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "e2fsck "), strings.HasPrefix(line, "Pass "),
			strings.Contains(line, "recovering journal"), strings.Contains(line, "Clearing orphaned inode"),
			strings.Contains(line, "Truncating orphaned inode"), strings.Contains(line, " files ("),
			strings.Contains(line, "FILE SYSTEM WAS MODIFIED"), strings.Contains(line, "Setting free "),
			strings.Contains(line, "orphan_present"),
			strings.Contains(line, "Orphan file"), strings.Contains(line, "orphan file"),
			strings.HasPrefix(line, "Clear? yes"):
		case orphans && (strings.HasPrefix(line, "[QUOTA WARNING] Usage inconsistent") ||
			strings.HasPrefix(line, "Update quota info")):
		default:
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, "; ")
}

// mount has the kernel recover a copy: the same tree.
func (x *Explorer) mount(img blockcache.Device, want State) error {
	path := filepath.Join(x.Dir, "mounted")
	if err := writeFile(path, img); err != nil {
		return err
	}
	got, err := x.Mount(path)
	if err != nil {
		return err
	}
	return Same(want, got)
}
