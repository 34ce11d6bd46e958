package fuse

import (
	"context"
	"errors"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// live answers the kernel's requests for one read-write mount. It keeps nothing of the file system: questions go to a front over a snapshot, changes to
// ext4.Writable. The kernel alone changes things, and drops what it has cached as it does so; so everything may be cached for ever.
type writable struct {
	gofuse.RawFileSystem // ENOSYS to what is not here
	fs                   *ext4.Writable
	listings             *listings
	lookups              *lookups
	shortage             shortage
	server               notifier
	fronts               sync.Pool
	opendir              bool
	writeback            bool // the kernel gathers writes
	noOpen               bool // ENOSYS to OPEN and CREATE: the kernel does without, MKNOD creates, and no file has flags of its own
	reporter
}

func newWritable(fs *ext4.Writable, logger *log.Logger) *writable {
	fs.SetRights(mayUseReserved)
	return &writable{RawFileSystem: gofuse.NewDefaultRawFileSystem(), fs: fs, reporter: reporter{log: logger, last: new(atomic.Int64), damaged: fs.Damaged},
		listings: new(listings), lookups: new(lookups)}
}

func (f *writable) String() string { return "varve" }

// Init keeps the way in which the kernel is told that what it has cached is not so any more.
func (f *writable) Init(s *gofuse.Server) { f.listen(s) }

func (f *writable) listen(n notifier) { f.server = n }

// changed has the kernel ask for the attributes of a node again: it does not expect an ioctl to change them.
func (f *writable) changed(id uint64, status gofuse.Status) gofuse.Status {
	if status.Ok() && f.server != nil {
		_ = f.server.InodeNotify(id, -1, 0)
	}
	return status
}

// view answers a question over a snapshot.
func (f *writable) view(do func(*front) gofuse.Status) (status gofuse.Status) {
	r, _ := f.fronts.Get().(*front)
	if r == nil {
		r = &front{reporter: f.reporter, listings: f.listings, lookups: f.lookups, opendir: f.opendir}
	}
	err := f.fs.View(func(fs *ext4.FS) error {
		r.fs = fs
		status = do(r)
		return nil
	})
	r.fs = nil
	f.fronts.Put(r)
	if err != nil {
		return f.status("read", err)
	}
	return status
}

// node is what a node id names.
func node(id uint64) ext4.Node {
	if id == gofuse.FUSE_ROOT_ID {
		return ext4.Root
	}
	return ext4.Node(id)
}

func cred(h *gofuse.InHeader) ext4.Cred { return ext4.Cred{UID: h.Uid, GID: h.Gid, Thread: h.Pid} }

// entry tells the kernel about an inode that was made, or the error.
func (f *writable) entry(op string, out *gofuse.EntryOut, n *ext4.Inode, err error) gofuse.Status {
	if err == nil {
		fillEntry(out, n)
		f.lookups.add(out.NodeId)
	}
	return f.status(op, err)
}

func (f *writable) Lookup(cancel <-chan struct{}, header *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	return f.view(func(r *front) gofuse.Status { return r.Lookup(cancel, header, name, out) })
}

// Forget frees an inode that has no name any more when the kernel has given its last reference back. A reply may have given out another one
// since: what Evict checks behind the last link decides, because a node without links gets no new references.
func (f *writable) Forget(id, n uint64) {
	if !f.lookups.forget(id, n) {
		return
	}
	f.shortage.forget(id)
	if err := f.fs.EvictIf(node(id), func() bool { return f.lookups.none(id) }); err != nil {
		f.report("free an inode", err)
	}
}

func (f *writable) GetAttr(cancel <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	if in.Flags()&gofuse.FUSE_GETATTR_FH != 0 && f.shortage.refuses(in.NodeId, f.fs.RoomFor) {
		return gofuse.Status(syscall.ENOSPC)
	}
	return f.view(func(r *front) gofuse.Status { return r.GetAttr(cancel, in, out) })
}

func (f *writable) Statx(cancel <-chan struct{}, in *gofuse.StatxIn, out *gofuse.StatxOut) gofuse.Status {
	return f.view(func(r *front) gofuse.Status { return r.Statx(cancel, in, out) })
}

func (f *writable) SetAttr(_ <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
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
	a.Explicit = a.Atime != nil && in.Valid&gofuse.FATTR_ATIME_NOW == 0 || a.Mtime != nil && in.Valid&gofuse.FATTR_MTIME_NOW == 0
	a.ClearPrivileges = in.Valid&gofuse.FATTR_KILL_SUIDGID != 0
	n, err := f.fs.SetAttr(cred(&in.InHeader), node(in.NodeId), a)
	if err == nil {
		out.SetTimeout(forever)
		fillAttr(&out.Attr, &n)
	}
	return f.status("setattr", err)
}

// setTime is a time that is to be set. It is signed, whatever the protocol says.
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

func (f *writable) Mknod(_ <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	c := ext4.CreateOptions{Mode: uint16(in.Mode), Umask: uint16(in.Umask), Major: in.Rdev >> 8 & 0xfff, Minor: in.Rdev&0xff | in.Rdev>>12&0xfff00}
	n, err := f.fs.Create(cred(&in.InHeader), node(in.NodeId), name, c)
	return f.entry("mknod", out, &n, err)
}

func (f *writable) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	n, err := f.fs.Create(cred(&in.InHeader), node(in.NodeId), name,
		ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeDir, Umask: uint16(in.Umask)})
	return f.entry("mkdir", out, &n, err)
}

func (f *writable) Symlink(_ <-chan struct{}, header *gofuse.InHeader, target, name string, out *gofuse.EntryOut) gofuse.Status {
	n, err := f.fs.Create(cred(header), node(header.NodeId), name, ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target})
	return f.entry("symlink", out, &n, err)
}

func (f *writable) Link(_ <-chan struct{}, in *gofuse.LinkIn, name string, out *gofuse.EntryOut) gofuse.Status {
	n, err := f.fs.Link(cred(&in.InHeader), node(in.Oldnodeid), node(in.NodeId), name)
	return f.entry("link", out, &n, err)
}

func (f *writable) Create(_ <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	if f.noOpen {
		return gofuse.ENOSYS
	}
	n, err := f.fs.Create(cred(&in.InHeader), node(in.NodeId), name,
		ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeRegular, Umask: uint16(in.Umask)})
	f.opened(&in.InHeader, in.Flags, &out.OpenOut)
	return f.entry("create", &out.EntryOut, &n, err)
}

func (f *writable) Tmpfile(_ <-chan struct{}, in *gofuse.CreateIn, out *gofuse.CreateOut) gofuse.Status {
	n, err := f.fs.Tmpfile(cred(&in.InHeader), node(in.NodeId),
		ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeRegular, Umask: uint16(in.Umask)})
	f.opened(&in.InHeader, in.Flags, &out.OpenOut)
	return f.entry("tmpfile", &out.EntryOut, &n, err)
}

func (f *writable) Unlink(_ <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	_, err := f.fs.Unlink(cred(header), node(header.NodeId), name)
	return f.status("unlink", err)
}

func (f *writable) Rmdir(_ <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	_, err := f.fs.Rmdir(cred(header), node(header.NodeId), name)
	return f.status("rmdir", err)
}

func (f *writable) Rename(_ <-chan struct{}, in *gofuse.RenameIn, name, newName string) gofuse.Status {
	_, err := f.fs.Rename(cred(&in.InHeader), node(in.NodeId), name, node(in.Newdir), newName, ext4.RenameFlags(in.Flags))
	return f.status("rename", err)
}

func (f *writable) Readlink(cancel <-chan struct{}, header *gofuse.InHeader) (target []byte, status gofuse.Status) {
	status = f.view(func(r *front) gofuse.Status {
		target, status = r.Readlink(cancel, header)
		return status
	})
	f.accessed(header.NodeId, status)
	return target, status
}

// accessed notes a read, by the rule of relatime.
func (f *writable) accessed(id uint64, status gofuse.Status) {
	if status.Ok() {
		if err := f.fs.Touch(node(id)); err != nil && !errors.Is(err, ext4.ErrFailed) {
			f.report("note the time of access", err)
		}
	}
}

func (f *writable) GetXAttr(cancel <-chan struct{}, header *gofuse.InHeader, name string, dest []byte) (n uint32, status gofuse.Status) {
	if f.fs.ShutDown() {
		return 0, gofuse.EIO
	}
	status = f.view(func(r *front) gofuse.Status {
		n, status = r.GetXAttr(cancel, header, name, dest)
		return status
	})
	return n, status
}

func (f *writable) ListXAttr(cancel <-chan struct{}, header *gofuse.InHeader, dest []byte) (n uint32, status gofuse.Status) {
	status = f.view(func(r *front) gofuse.Status {
		n, status = r.ListXAttr(cancel, header, dest)
		return status
	})
	return n, status
}

func (f *writable) SetXAttr(_ <-chan struct{}, in *gofuse.SetXAttrIn, name string, data []byte) gofuse.Status {
	return f.status("setxattr", f.fs.SetXattr(cred(&in.InHeader), node(in.NodeId), name, append([]byte{}, data...), in.Flags,
		in.SetXAttrFlags&gofuse.SETXATTR_ACL_KILL_SGID != 0))
}

func (f *writable) RemoveXAttr(_ <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	return f.status("removexattr", f.fs.RemoveXattr(cred(header), node(header.NodeId), name))
}

func (f *writable) Open(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	if f.noOpen {
		return gofuse.ENOSYS
	}
	if f.fs.ShutDown() {
		return gofuse.EIO
	}
	const writing = syscall.O_WRONLY | syscall.O_RDWR
	if in.Flags&(writing|syscall.O_TRUNC) != 0 {
		status := f.view(func(r *front) gofuse.Status {
			var n ext4.Inode
			status := r.inode(&n, in.NodeId)
			if status.Ok() && (n.Has(disk.InodeImmutable) || n.Has(disk.InodeAppend) && (in.Flags&syscall.O_APPEND == 0 || in.Flags&syscall.O_TRUNC != 0)) {
				return gofuse.EPERM
			}
			return status
		})
		if !status.Ok() {
			return status
		}
	}
	f.opened(&in.InHeader, in.Flags, out)
	return gofuse.OK
}

func (f *writable) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (result gofuse.ReadResult, status gofuse.Status) {
	if f.fs.ShutDown() {
		return nil, gofuse.EIO
	}
	touch := false
	status = f.view(func(r *front) gofuse.Status {
		var n ext4.Inode
		if status := r.inode(&n, in.NodeId); !status.Ok() {
			return status
		}
		touch = f.fs.NeedsTouch(&n)
		got, err := n.ReadAt(buf, int64(in.Offset))
		if err != nil && !errors.Is(err, io.EOF) {
			return f.status("read", err)
		}
		result = gofuse.ReadResultVector([][]byte{buf[:got]}) // one writev; go-fuse would splice plain bytes, in four system calls
		return gofuse.OK
	})
	if touch {
		f.accessed(in.NodeId, status)
	}
	return result, status
}

func (f *writable) Lseek(cancel <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	return f.view(func(r *front) gofuse.Status { return r.Lseek(cancel, in, out) })
}

// Flush has nothing to do: closing a file makes nothing durable (E1).
func (f *writable) Flush(<-chan struct{}, *gofuse.FlushIn) gofuse.Status { return gofuse.ENOSYS }

// Release has the file give up what it has reserved to grow.
func (f *writable) Release(_ <-chan struct{}, in *gofuse.ReleaseIn) { f.fs.Closed(node(in.NodeId)) }

func (f *writable) Fsync(_ <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return f.status("fsync", f.fs.SyncNode(context.Background(), node(in.NodeId)))
}

func (f *writable) FsyncDir(_ <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return f.status("fsync", f.fs.SyncNode(context.Background(), node(in.NodeId)))
}

// syncAll is syncfs(2). The kernel has written back before what it had gathered.
func (f *writable) syncAll() gofuse.Status {
	if mutant.Off(mutant.SyncFS) {
		return gofuse.OK
	}
	return f.status("syncfs", f.fs.Sync(context.Background()))
}

// The modes of fallocate(2) that FUSE passes on.
const (
	fallocKeepSize  = 0x1
	fallocPunchHole = 0x2
	fallocZeroRange = 0x10
)

func (f *writable) Fallocate(_ <-chan struct{}, in *gofuse.FallocateIn) gofuse.Status {
	who, n, keep := cred(&in.InHeader), node(in.NodeId), in.Mode&fallocKeepSize != 0
	var err error
	switch in.Mode &^ fallocKeepSize {
	case 0:
		err = f.fs.Allocate(who, n, in.Offset, in.Length, keep)
	case fallocPunchHole:
		err = f.fs.Punch(who, n, in.Offset, in.Length)
	case fallocZeroRange:
		err = f.fs.ZeroRange(who, n, in.Offset, in.Length, keep)
	default:
		return gofuse.Status(syscall.EOPNOTSUPP)
	}
	return f.status("fallocate", err)
}

// copyChunk is how much of a copy_file_range is copied at a time.
const copyChunk = 512 << 10

func (f *writable) CopyFileRange(_ <-chan struct{}, in *gofuse.CopyFileRangeIn) (uint32, gofuse.Status) {
	if f.fs.ShutDown() {
		return 0, gofuse.EIO
	}
	done, limit := uint64(0), min(in.Len, 64<<20)
	buf := make([]byte, min(limit, copyChunk))
	for done < limit {
		var got int
		status := f.view(func(r *front) gofuse.Status {
			var n ext4.Inode
			if status := r.inode(&n, in.NodeId); !status.Ok() {
				return status
			}
			var err error
			got, err = n.ReadAt(buf[:min(limit-done, copyChunk)], int64(in.OffIn+done))
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return f.status("copy_file_range", err)
		})
		if !status.Ok() && done == 0 {
			return 0, status
		}
		if !status.Ok() || got == 0 {
			break
		}
		k, err := f.fs.Write(cred(&in.InHeader), node(in.NodeIdOut), int64(in.OffOut+done), buf[:got], true)
		done += uint64(k)
		if err != nil {
			if done == 0 {
				return 0, f.status("copy_file_range", err)
			}
			break
		}
	}
	f.accessed(in.NodeId, gofuse.OK)
	return uint32(done), gofuse.OK
}

func (f *writable) OpenDir(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = gofuse.FOPEN_CACHE_DIR | gofuse.FOPEN_KEEP_CACHE
	if f.opendir {
		return gofuse.OK
	}
	return gofuse.ENOSYS
}

func (f *writable) ReadDir(cancel <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	status := f.view(func(r *front) gofuse.Status { return r.ReadDir(cancel, in, out) })
	f.accessed(in.NodeId, status)
	return status
}

func (f *writable) ReadDirPlus(cancel <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	status := f.view(func(r *front) gofuse.Status { return r.ReadDirPlus(cancel, in, out) })
	f.accessed(in.NodeId, status)
	return status
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

func (f *writable) Ioctl(cancel <-chan struct{}, in *gofuse.IoctlIn, inbuf []byte, out *gofuse.IoctlOut, outbuf []byte) gofuse.Status {
	who, n := cred(&in.InHeader), node(in.NodeId)
	switch {
	case in.Cmd == fsIocSetFlags && len(inbuf) >= 4:
		return f.changed(in.NodeId, f.status("chattr", f.fs.SetFlags(who, n, nativeEndian.Uint32(inbuf))))
	case in.Cmd == fsIocShutdown:
		return f.shutdown(in, outbuf)
	case in.Cmd == fsIocSetXattr && len(inbuf) >= 16:
		return f.changed(in.NodeId, f.setXflags(who, n, nativeEndian.Uint32(inbuf), nativeEndian.Uint32(inbuf[12:])))
	}
	return f.view(func(r *front) gofuse.Status { return r.Ioctl(cancel, in, inbuf, out, outbuf) })
}

// setXflags sets what struct fsxattr says: flags and project.
func (f *writable) setXflags(who ext4.Cred, n ext4.Node, bits, project uint32) gofuse.Status {
	var mask, flags uint32
	for _, x := range xflags {
		mask |= x.inode
		if bits&x.xflag != 0 {
			flags |= x.inode
		}
	}
	return f.status("chattr", f.fs.SetXflags(who, n, mask, flags, project))
}
