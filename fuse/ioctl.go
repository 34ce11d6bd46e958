package fuse

import (
	"encoding/binary"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
)

// The ioctls that read what lsattr(1) shows (linux/fs.h). FS_IOC_GETVERSION is not among them: by its number it returns
// 8 bytes, and FUSE would write them all to where callers have room for the 4 that ext4 returns.
const (
	fsIocGetFlags   = 0x80086601
	fsIocGetVersion = 0x80087601 // the inode's generation
	fsIocGetXattr   = 0x801c581f
)

// nativeEndian is the byte order of what ioctls hand over.
var nativeEndian = binary.NativeEndian

func (f *front) Ioctl(_ <-chan struct{}, in *gofuse.IoctlIn, _ []byte, _ *gofuse.IoctlOut, out []byte) gofuse.Status {
	if in.Cmd == fsIocShutdown {
		return f.shutdown(in, out)
	}
	var n ext4.Inode
	if status := f.inode(&n, in.NodeId); !status.Ok() {
		return status
	}
	le := nativeEndian
	clear(out) // what is not set is the caller's to see, too
	switch {
	case in.Cmd == fsIocGetFlags && len(out) >= 4:
		le.PutUint32(out, n.Flags&ext4.VisibleFlags)
	case in.Cmd == fsIocGetVersion && len(out) >= 4:
		le.PutUint32(out, n.Generation)
	case in.Cmd == fsIocGetXattr && len(out) >= 16:
		a := n.FileAttr()
		le.PutUint32(out, a.Xflags)
		le.PutUint32(out[12:], a.Project)
	default:
		return gofuse.Status(syscall.ENOTTY)
	}
	return gofuse.OK
}
