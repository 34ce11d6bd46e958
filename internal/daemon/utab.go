package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// utab is libmount's table of what the kernel's table of mounts has no room for, such as the helper that umount(8)
// runs. Without an entry there, umount(8) takes the type from statfs(2), which is "fuse" for all of our mounts,
// unmounts by itself, and does not wait for the daemon (util-linux, libmount/src/context_umount.c).
type utab struct {
	path   string
	helper string // the program that an entry stands for
}

// umountHelper is the type by which umount(8) finds the helper.
const umountHelper = "fuse.varve"

var systemUtab = utab{path: "/run/mount/utab", helper: "/sbin/umount." + umountHelper}

// enterHelper enters a mount in libmount's table, where the helper is installed and this process is root. forget
// removes the entry.
func enterHelper(source, dir string) (forget func(), err error) {
	if os.Geteuid() != 0 {
		return func() {}, nil
	}
	return systemUtab.enter(source, dir)
}

func (u utab) enter(source, dir string) (forget func(), err error) {
	for _, needed := range []string{u.helper, filepath.Dir(u.path)} {
		if _, err := os.Stat(needed); err != nil {
			return func() {}, nil
		}
	}
	// Not dir itself: a question about it would go to our own mount, which does not answer yet.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	target := "TARGET=" + escape(dir) + " "
	line := fmt.Sprintf("SRC=%s %sROOT=/ OPTS=uhelper=%s\n", escape(source), target, umountHelper)
	return func() { _ = u.replace(target, "") }, u.replace(target, line)
}

// replace removes the entries of a target, and adds a line.
func (u utab) replace(target, line string) error {
	return u.change(func(old string) string {
		var out strings.Builder
		for l := range strings.Lines(old) {
			if !strings.Contains(" "+l, " "+target) {
				out.WriteString(l)
			}
		}
		return out.String() + line
	})
}

// change changes the table under libmount's lock, all at once.
func (u utab) change(change func(string) string) error {
	lock, err := os.OpenFile(u.path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	old, err := os.ReadFile(u.path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	next := change(string(old))
	if next == string(old) {
		return nil
	}
	temp := fmt.Sprintf("%s.varve-%d", u.path, os.Getpid())
	if err := os.WriteFile(temp, []byte(next), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, u.path)
}
