package fuse

import (
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func (f *writable) GetAttr(cancel <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	if in.Flags()&gofuse.FUSE_GETATTR_FH != 0 {
		r := f.requester(cancel, &in.InHeader)
		defer r.end()
		if f.shortage.refuses(in.NodeId, func(bytes int64) bool { return f.fs.RoomFor(r, bytes) }) {
			return gofuse.Status(syscall.ENOSPC)
		}
	}
	return f.view(func(r *front) gofuse.Status { return r.GetAttr(cancel, in, out) })
}

func (f *writable) Statx(cancel <-chan struct{}, in *gofuse.StatxIn, out *gofuse.StatxOut) gofuse.Status {
	return f.view(func(r *front) gofuse.Status { return r.Statx(cancel, in, out) })
}

func (f *writable) SetAttr(cancel <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	var a ext4.Attr
	if mode, ok := in.GetMode(); ok {
		m := uint16(mode & 0o7777)
		a.Mode = &m
	}
	if uid, ok := in.GetUID(); ok {
		a.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		a.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		a.Size = &size
	}
	a.Atime = setTime(in, gofuse.FATTR_ATIME, gofuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec)
	a.Mtime = setTime(in, gofuse.FATTR_MTIME, gofuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec)
	a.Explicit = a.Atime != nil && in.Valid&gofuse.FATTR_ATIME_NOW == 0 ||
		a.Mtime != nil && in.Valid&gofuse.FATTR_MTIME_NOW == 0 && !f.writeback
	// With the writeback cache, the kernel so hands over the time of writes.
	const others = gofuse.FATTR_MODE | gofuse.FATTR_UID | gofuse.FATTR_GID | gofuse.FATTR_SIZE | gofuse.FATTR_ATIME
	a.Gathered = f.writeback && in.Valid&(others|gofuse.FATTR_MTIME) == gofuse.FATTR_MTIME
	a.ClearPrivileges = in.Valid&gofuse.FATTR_KILL_SUIDGID != 0
	return f.change("setattr", cancel, &in.InHeader, func(who ext4.Cred) error {
		n, err := f.fs.SetAttr(who, node(in.NodeId), a)
		if err == nil {
			out.SetTimeout(forever)
			fillAttr(&out.Attr, &n)
		}
		return err
	})
}

// setTime is a time that is to be set, or nil. It is signed, though the protocol has an unsigned field.
func setTime(in *gofuse.SetAttrIn, given, now uint32, sec uint64, nsec uint32) *time.Time {
	if in.Valid&given == 0 {
		return nil
	}
	t := time.Now()
	if in.Valid&now == 0 {
		t = time.Unix(int64(sec), int64(nsec))
	}
	return &t
}

func (f *writable) GetXAttr(
	cancel <-chan struct{},
	header *gofuse.InHeader,
	name string,
	dest []byte,
) (n uint32, status gofuse.Status) {
	if f.fs.ShutDown() {
		return 0, gofuse.EIO
	}
	status = f.view(func(r *front) gofuse.Status {
		n, status = r.GetXAttr(cancel, header, name, dest)
		return status
	})
	return n, status
}

func (f *writable) ListXAttr(
	cancel <-chan struct{},
	header *gofuse.InHeader,
	dest []byte,
) (n uint32, status gofuse.Status) {
	status = f.view(func(r *front) gofuse.Status {
		n, status = r.ListXAttr(cancel, header, dest)
		return status
	})
	return n, status
}

func (f *writable) SetXAttr(cancel <-chan struct{}, in *gofuse.SetXAttrIn, name string, data []byte) gofuse.Status {
	return f.blocksChanged(in.NodeId, f.change("setxattr", cancel, &in.InHeader, func(who ext4.Cred) error {
		return f.fs.SetXattr(who, node(in.NodeId), name, append([]byte{}, data...), in.Flags,
			in.SetXAttrFlags&gofuse.SETXATTR_ACL_KILL_SGID != 0)
	}))
}

func (f *writable) RemoveXAttr(cancel <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	return f.blocksChanged(header.NodeId, f.change("removexattr", cancel, header, func(who ext4.Cred) error {
		return f.fs.RemoveXattr(who, node(header.NodeId), name)
	}))
}

func (f *writable) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	s, err := f.fs.Stat()
	fillStatfs(out, s)
	return f.status("statfs", err)
}

// The ioctls that chattr(1) uses (linux/fs.h).
const (
	fsIocSetFlags = 0x40086602
	fsIocSetXattr = 0x401c5820
)

func (f *writable) Ioctl(
	cancel <-chan struct{},
	in *gofuse.IoctlIn,
	inbuf []byte,
	out *gofuse.IoctlOut,
	outbuf []byte,
) gofuse.Status {
	n := node(in.NodeId)
	chattr := func(do func(ext4.Cred) error) gofuse.Status {
		return f.changed(in.NodeId, f.change("chattr", cancel, &in.InHeader, do))
	}
	switch {
	case in.Cmd == fsIocSetFlags && len(inbuf) >= 4:
		flags := nativeEndian.Uint32(inbuf)
		if flags&(disk.InodeImmutable|disk.InodeAppend) != 0 {
			f.handOver(in.NodeId)
		}
		return chattr(func(who ext4.Cred) error { return f.fs.SetFlags(who, n, flags) })
	case in.Cmd == fsIocSetLabel:
		return f.setLabel(cancel, in, inbuf)
	case in.Cmd == fsIocTrim:
		return f.trim(cancel, in, inbuf, outbuf)
	case in.Cmd == fsIocShutdown:
		return f.shutdown(in, outbuf)
	case in.Cmd == fsIocSetXattr && len(inbuf) >= 16:
		f.handOver(in.NodeId) // it may become immutable
		a := ext4.FileAttr{Xflags: nativeEndian.Uint32(inbuf), Project: nativeEndian.Uint32(inbuf[12:])}
		return chattr(func(who ext4.Cred) error { return f.fs.SetFileAttr(who, n, a) })
	}
	return f.view(func(r *front) gofuse.Status { return r.Ioctl(cancel, in, inbuf, out, outbuf) })
}
