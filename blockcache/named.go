package blockcache

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrDeleted says that a file was deleted, or replaced by another one, beneath its user. It goes away with the last
// process that has it open.
var ErrDeleted = errors.New("was deleted or replaced")

// hasName reports whether a file can be found by a name. A block device always can.
func hasName(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return true
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink > 0
}

// checkName gives ErrDeleted for a file that had a name and has none any more.
func checkName(f *os.File, had bool) error {
	if !had || hasName(f) {
		return nil
	}
	return fmt.Errorf("%s %w while it was in use: what is written to it goes away with this process; "+
		"until then a copy can be made of /proc/%d/fd/%d", f.Name(), ErrDeleted, os.Getpid(), f.Fd())
}

// Named gives ErrDeleted for a file that had a name when it was opened, and has none any more.
func (d *Disk) Named() error { return checkName(d.file, d.named) }

// Named is Disk.Named.
func (d *File) Named() error { return checkName(d.file, d.named) }

// Named is Disk.Named of the overlay's file.
func (o *Overlay) Named() error {
	if f, ok := o.file.(interface{ Named() error }); ok {
		return f.Named()
	}
	return nil
}
