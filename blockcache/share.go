package blockcache

import (
	"time"

	"golang.org/x/sys/unix"
)

// Share locks the file against programs that lock it for writing, as OpenDisk does, until it is closed.
func (d *File) Share() error {
	for range 20 { // a program that ends now may hold it for a moment
		err := unix.Flock(int(d.file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ErrLocked
}
