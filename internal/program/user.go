package program

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Stranger is a user who mounted nothing.
const Stranger = 65534

// AsUser runs fn as a user, in a thread of its own that ends with it.
func AsUser(t testing.TB, uid uintptr, fn func() error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
			done <- e
			return
		}
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
