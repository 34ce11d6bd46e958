package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newUmount() *cobra.Command {
	var lazy bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "umount DIR",
		Short: "Unmount, and return when the daemon is gone",
		Long: `Unmount a directory that varve mounted, and return when the daemon that served it has ended and released the image.

A dead mount, whose daemon is gone already, is freed, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := umount(args[0], lazy, timeout); err != nil {
				return mountError{err}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "detach now even where files are open, and do not wait for the daemon")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for the daemon")
	return cmd
}

// umount unmounts dir and waits for its daemon.
func umount(dir string, lazy bool, timeout time.Duration) error {
	dir, err := resolveMountPoint(dir)
	if err != nil {
		return err
	}
	info, err := findMount(dir)
	if err != nil {
		return err
	}
	if info == nil {
		return fmt.Errorf("%s is not mounted", dir)
	}
	if info.fstype != "fuse.varve" && info.fstype != "fuseblk.varve" {
		return fmt.Errorf("%s is a mount of type %s, not one of varve's", dir, info.fstype)
	}
	if lazy {
		return detach(dir)
	}
	daemons := watchLives(info.dev, info.owner)
	defer daemons.close()
	if err := unmountPatiently(dir); err != nil {
		return err
	}
	if stillMounted(info.dev) {
		return nil // there, or as the mount that this one was bound to: the daemon goes on
	}
	if err := daemons.ended(timeout); err != nil {
		return fmt.Errorf("%s is unmounted, but %w", dir, err)
	}
	return nil
}

// stillMounted reports whether a device is mounted anywhere in this namespace.
func stillMounted(dev uint64) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	number := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == number {
			return true
		}
	}
	return false
}

// busyFor is how long a busy mount is tried again: indexers, df and the like touch new mounts for a moment.
const busyFor = time.Second

// unmountPatiently unmounts, and tries again for a while where the mount is busy.
func unmountPatiently(dir string) (err error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = unmountNow(dir); !errors.Is(err, syscall.EBUSY) || time.Since(began) > busyFor {
			return err
		}
	}
}

// resolveMountPoint makes a path absolute and resolves symlinks above its last name. The last name is left alone: a
// dead mount cannot be looked at.
func resolveMountPoint(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if full, err := filepath.EvalSymlinks(abs); err == nil {
		return full, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// busy is EBUSY without its text.
type busy struct{}

func (busy) Error() string        { return "" }
func (busy) Is(target error) bool { return target == syscall.EBUSY }

func unmountNow(dir string) error {
	if os.Geteuid() == 0 {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%s is busy: files on it are open, or a process works in it (see: fuser -vm %s)%w", dir, dir, busy{})
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil
	}
	out, err := exec.Command("fusermount3", "-u", "--", dir).CombinedOutput()
	if err != nil && strings.Contains(string(out), "busy") {
		return fmt.Errorf("unmount %s: %s%w", dir, strings.TrimSpace(string(out)), busy{})
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %s", dir, strings.TrimSpace(string(out)))
	}
	return nil
}
