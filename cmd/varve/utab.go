package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where libmount keeps what the kernel's table of mounts has no room for, and what umount(8) runs for our mounts. Without an entry it asks statfs(2) for the type,
// which is "fuse" for all of them, and unmounts by itself, without waiting for the daemon (util-linux, libmount/src/context_umount.c).
const (
	utab         = "/run/mount/utab"
	umountHelper = "fuse.varve"
)

// noteHelper notes for umount(8) that a mount has a helper, where that is installed and we may. forget takes the note away.
func noteHelper(source, dir string) (forget func(), err error) {
	nothing := func() {}
	if os.Geteuid() != 0 {
		return nothing, nil
	}
	if _, err := os.Stat("/sbin/umount." + umountHelper); err != nil {
		return nothing, nil
	}
	if _, err := os.Stat(filepath.Dir(utab)); err != nil {
		return nothing, nil
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil { // not dir itself: that would ask our own mount
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	target := "TARGET=" + escapeMount(dir) + " "
	line := fmt.Sprintf("SRC=%s %sROOT=/ OPTS=uhelper=%s\n", escapeMount(source), target, umountHelper)
	change := func(add string) error {
		return changeUtab(func(old string) string {
			var out strings.Builder
			for l := range strings.Lines(old) {
				if !strings.Contains(" "+l, " "+target) {
					out.WriteString(l)
				}
			}
			return out.String() + add
		})
	}
	return func() { _ = change("") }, change(line)
}

// changeUtab changes the table under libmount's lock, all at once.
func changeUtab(change func(string) string) error {
	lock, err := os.OpenFile(utab+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	old, err := os.ReadFile(utab)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	next := change(string(old))
	if next == string(old) {
		return nil
	}
	temp := fmt.Sprintf("%s.varve-%d", utab, os.Getpid())
	if err := os.WriteFile(temp, []byte(next), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, utab)
}

// escapeMount writes a path as the tables of mounts do: blanks and backslashes by octal escapes.
func escapeMount(path string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
}
