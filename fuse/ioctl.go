package fuse

import (
	"bytes"
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

// The ioctls of a file system's label (linux/fs.h). FS_IOC_GETFSUUID never gets here: the kernel answers it itself, and
// knows no UUID of a FUSE mount. EXT4_IOC_GETFSUUID returns more bytes than its number says, which FUSE does not pass
// on.
const (
	fsIocGetLabel = 0x81009431
	fsIocSetLabel = 0x41009432
)

// fsIocTrim is FITRIM, which fstrim(8) calls.
const fsIocTrim = 0xc0185879

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
	case in.Cmd == fsIocGetLabel && len(out) >= 256:
		label, err := f.fs.Label()
		if err != nil {
			return f.status("label", err)
		}
		copy(out, label)
	case in.Cmd == fsIocSetLabel || in.Cmd == fsIocTrim:
		if !fromRoot(in) {
			return gofuse.EPERM
		}
		return gofuse.EROFS
	default:
		return gofuse.Status(syscall.ENOTTY)
	}
	return gofuse.OK
}

// fromRoot reports whether root asks, with all of its rights.
func fromRoot(in *gofuse.IoctlIn) bool { return in.Uid == 0 && mayAdminister(int(in.Pid)) }

// setLabel names the file system for root. The name in the caller's buffer ends with a zero.
func (f *writable) setLabel(cancel <-chan struct{}, in *gofuse.IoctlIn, label []byte) gofuse.Status {
	if !fromRoot(in) {
		return gofuse.EPERM
	}
	if i := bytes.IndexByte(label, 0); i >= 0 {
		label = label[:i]
	}
	return f.change("label", cancel, &in.InHeader, func(who ext4.Cred) error {
		return f.fs.SetLabel(who, string(label))
	})
}

// trim discards free blocks for root. The answer is the caller's range, with how many bytes were trimmed as its length.
func (f *writable) trim(cancel <-chan struct{}, in *gofuse.IoctlIn, arg, out []byte) gofuse.Status {
	if !fromRoot(in) {
		return gofuse.EPERM
	}
	if len(arg) < 24 || len(out) < 24 {
		return gofuse.EINVAL
	}
	word := nativeEndian.Uint64
	return f.change("trim", cancel, &in.InHeader, func(who ext4.Cred) error {
		n, err := f.fs.Trim(who.Context, ext4.TrimRange{Start: word(arg), Len: word(arg[8:]), MinLen: word(arg[16:])})
		copy(out, arg[:24])
		nativeEndian.PutUint64(out[8:], n)
		return err
	})
}
