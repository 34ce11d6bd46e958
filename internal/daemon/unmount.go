package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MountError is a failure to mount or unmount.
type MountError struct{ Err error }

func (e *MountError) Error() string { return e.Err.Error() }
func (e *MountError) Unwrap() error { return e.Err }

// Unmount unmounts a directory that varve mounted, and waits until its daemon has released the image. With lazy, it
// detaches the mount even where files are open, and does not wait.
func Unmount(dir string, lazy bool, timeout time.Duration) error {
	dir, err := resolve(dir)
	if err != nil {
		return err
	}
	info, err := FindMount(dir)
	switch {
	case err != nil:
		return err
	case info == nil:
		return fmt.Errorf("%s is not mounted", dir)
	case !info.Ours():
		return fmt.Errorf("%s is a mount of type %s, not one of varve's", dir, info.Type)
	case lazy:
		return Detach(dir)
	}
	daemons := watchLives(info.Dev, info.Owner) // before umount(2): rule 3
	defer daemons.close()
	if err := unmountPatiently(dir); err != nil {
		return err
	}
	if mounted(info.Dev) {
		return nil // on the directory again, or where this bind mount came from: the daemon goes on
	}
	if err := daemons.wait(timeout); err != nil {
		return fmt.Errorf("%s is unmounted, but %w", dir, err)
	}
	return nil
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

// busy is EBUSY without its text.
type busy struct{}

func (busy) Error() string        { return "" }
func (busy) Is(target error) bool { return target == syscall.EBUSY }

func unmountNow(dir string) error {
	if os.Geteuid() == 0 {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%s is busy: files on it are open, or a process works in it (see: fuser -vm %s)%w", dir,
				dir, busy{})
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

// Detach takes a mount out of the directory tree, whether it is busy or dead.
func Detach(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, unix.MNT_DETACH)
	}
	out, err := exec.Command("fusermount3", "-u", "-z", "--", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fusermount3: %w: %s", err, out)
	}
	return nil
}

// Sync makes everything durable that was done on a read-write mount.
func Sync(dir string) error {
	info, err := findOurs(dir)
	if err != nil {
		return err
	}
	d, err := os.Open(info.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// MountPoint checks a directory to mount on, and returns its absolute path. It frees the directory of a dead mount if
// replaceStale is set.
func MountPoint(dir string, replaceStale bool) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// Not stat(2): the kernel would answer that from attributes of the dead mount that it still has.
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); errors.Is(err, syscall.ENOTCONN) {
		if !replaceStale {
			return "", fmt.Errorf(
				"%s is a dead mount: its daemon is gone. Free it with: varve umount %s (or mount with --replace-stale)",
				dir,
				dir,
			)
		}
		if err := Detach(dir); err != nil {
			return "", fmt.Errorf("free the dead mount %s: %w", dir, err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}

// resolve makes a path absolute and resolves symlinks above its last name. The last name is left alone where it cannot
// be looked at, as on a dead mount.
func resolve(dir string) (string, error) {
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
