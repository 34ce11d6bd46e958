package fuse

import (
	"fmt"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
)

// fsIocShutdown is FS_IOC_SHUTDOWN, by other names EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32). By
// its number it returns its argument, so FUSE passes on where the flags are in the caller's memory, and not the flags.
const fsIocShutdown = 0x8004587d

// shutdown shuts a read-write mount down for root.
func (f *writable) shutdown(in *gofuse.IoctlIn, out []byte) gofuse.Status {
	flags, err := shutdownFlags(in)
	if err != nil {
		return f.status("shutdown", err)
	}
	if err := f.fs.Shutdown(ext4.Shutdown(flags)); err != nil {
		return f.status("shutdown", err)
	}
	if f.server != nil { // what the kernel has of contents must not be read any more
		for _, id := range append(f.lookups.all(), gofuse.FUSE_ROOT_ID) {
			_ = f.server.InodeNotify(id, 0, 0)
		}
	}
	putFlags(out, flags)
	return gofuse.OK
}

// shutdown shuts a read-only mount down for root: contents that the kernel does not have are EIO from now on.
func (f *front) shutdown(in *gofuse.IoctlIn, out []byte) gofuse.Status {
	flags, err := shutdownFlags(in)
	if err == nil && flags > uint32(ext4.ShutdownCut) {
		err = ext4.ErrInvalid
	}
	if err != nil {
		return f.status("shutdown", err)
	}
	f.shut.Store(true)
	putFlags(out, flags)
	return gofuse.OK
}

// putFlags leaves the caller's flags as they are: FUSE writes the answer over them.
func putFlags(out []byte, flags uint32) {
	if len(out) >= 4 {
		nativeEndian.PutUint32(out, flags)
	}
}

// shutdownFlags reads the flags out of the caller's memory, if the caller is root with all of its rights.
func shutdownFlags(in *gofuse.IoctlIn) (uint32, error) {
	if !fromRoot(in) {
		return 0, ext4.ErrNotPermit
	}
	var b [4]byte
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(int(in.Pid), local, []unix.RemoteIovec{{Base: uintptr(in.Arg), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = syscall.EFAULT
	}
	if err == nil || err == syscall.EFAULT {
		return nativeEndian.Uint32(b[:]), err
	}
	return 0, fmt.Errorf("%w: read the flags out of process %d: %w", ext4.ErrNotPermit, in.Pid, err)
}

// mayAdminister reports whether a process has CAP_SYS_ADMIN.
func mayAdminister(pid int) bool {
	var caps [2]unix.CapUserData
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(pid)}
	return pid != 0 && unix.Capget(&h, &caps[0]) == nil && caps[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
