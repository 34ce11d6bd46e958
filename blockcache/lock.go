package blockcache

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// flock locks a file: how is unix.LOCK_EX or unix.LOCK_SH. It waits up to 200 ms for the last holder, which may be
// about to end, or whose child may not have closed the file yet. Then it returns unix.EWOULDBLOCK.
func flock(f *os.File, how int) (err error) {
	for range 20 {
		if err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
