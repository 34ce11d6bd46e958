package fuse

import (
	"errors"
	"log"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// front answers the kernel's requests for one read-only mount.
type front struct {
	gofuse.RawFileSystem // ENOSYS for all other requests
	fs                   *ext4.FS
	mapped               blockcache.Mapped // nil where the image cannot be mapped
	ahead                *blockcache.Readahead
	xattrs               *xattrProof // nil: attributes may come
	listings             *listings
	lookups              *lookups    // nil: they are not needed
	handles              bool        // files are opened one by one, because opening some is refused
	opendir              bool        // directories are opened one by one
	shut                 atomic.Bool // by FS_IOC_SHUTDOWN; of a read-only mount
	reporter
}

// reporter logs what an errno cannot say.
type reporter struct {
	log  *log.Logger
	last *atomic.Int64 // second of the last report

	damaged func(operation string, err error) // notes damage that was found; nil where nothing is written
}

func newFront(fs *ext4.FS, device blockcache.Device, ahead *blockcache.Readahead, logger *log.Logger) *front {
	f := &front{
		RawFileSystem: gofuse.NewDefaultRawFileSystem(),
		fs:            fs,
		reporter:      reporter{log: logger, last: new(atomic.Int64)},
		xattrs:        new(xattrProof),
		listings:      new(listings),
	}
	f.mapped, _ = device.(blockcache.Mapped)
	f.ahead = ahead
	f.handles = fs.Superblock().Incompat&disk.IncompatEncrypt != 0
	return f
}

func (f *front) String() string { return "varve" }

// nodeID is the kernel's name for an inode: its generation and its number; 1 stands for the root.
func nodeID(n *ext4.Inode) uint64 {
	if n.Ino == ext4.RootIno {
		return gofuse.FUSE_ROOT_ID
	}
	return uint64(n.Generation)<<32 | uint64(n.Ino)
}

// inode reads the inode of a node id into n, which the caller has on its stack. One that was freed, or taken anew,
// since is stale.
func (f *front) inode(n *ext4.Inode, id uint64) gofuse.Status {
	if id == gofuse.FUSE_ROOT_ID {
		return f.status("root directory", f.fs.ReadInode(n, ext4.RootIno))
	}
	err := f.fs.ReadInode(n, ext4.Ino(id))
	if errors.Is(err, ext4.ErrNotExist) || err == nil && n.Generation != uint32(id>>32) {
		return gofuse.Status(syscall.ESTALE)
	}
	return f.status("inode", err)
}

// forever is how long the kernel may cache names and attributes.
const forever = time.Duration(math.MaxInt64)

func (f *front) Lookup(_ <-chan struct{}, header *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	var dir, n ext4.Inode
	if status := f.inode(&dir, header.NodeId); !status.Ok() {
		return status
	}
	err := dir.LookupInto(&n, name)
	if errors.Is(err, ext4.ErrNotExist) {
		out.SetEntryTimeout(entryTimeout(f.fs)) // no such name, and the kernel may remember that
		return gofuse.OK
	}
	if err != nil {
		return f.status("lookup", err)
	}
	if !n.IsDir() {
		f.listings.asked(header.Pid)
	}
	fillEntry(out, &n)
	f.lookups.add(out.NodeId)
	return gofuse.OK
}

// entryTimeout is how long the kernel may keep a name. If directories ignore case, it keeps a name once for each case
// that was looked up, and drops only one of them when the name changes: so it must ask each time.
func entryTimeout(fs *ext4.FS) time.Duration {
	if fs.Superblock().Incompat&disk.IncompatCasefold != 0 {
		return 0
	}
	return forever
}

// fillEntry describes an inode that the kernel found by name.
func fillEntry(out *gofuse.EntryOut, n *ext4.Inode) {
	out.NodeId = nodeID(n)
	out.SetEntryTimeout(entryTimeout(n.FS()))
	out.SetAttrTimeout(forever)
	fillAttr(&out.Attr, n)
}

func (f *front) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	var n ext4.Inode
	status := f.inode(&n, in.NodeId)
	if status.Ok() {
		out.SetTimeout(forever)
		fillAttr(&out.Attr, &n)
	}
	return status
}

func fillAttr(a *gofuse.Attr, n *ext4.Inode) {
	a.Ino = uint64(n.Ino)
	a.Size = n.StatSize()
	a.Blocks = n.StatBlocks()
	a.Atime, a.Atimensec = uint64(n.Atime.Unix()), uint32(n.Atime.Nanosecond())
	a.Mtime, a.Mtimensec = uint64(n.Mtime.Unix()), uint32(n.Mtime.Nanosecond())
	a.Ctime, a.Ctimensec = uint64(n.Ctime.Unix()), uint32(n.Ctime.Nanosecond())
	a.Mode = uint32(n.Mode)
	a.Nlink = uint32(n.Links)
	a.Uid, a.Gid = n.UID, n.GID
	a.Blksize = uint32(n.FS().Superblock().BlockSize)
	if n.IsDevice() {
		a.Rdev = rdev(n.Device())
	}
}

// rdev is a device number as the kernel's new_decode_dev reads it.
func rdev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | minor&^0xff<<12
}

// Statx gives the time of birth, which GetAttr cannot.
func (f *front) Statx(_ <-chan struct{}, in *gofuse.StatxIn, out *gofuse.StatxOut) gofuse.Status {
	var n ext4.Inode
	if status := f.inode(&n, in.NodeId); !status.Ok() {
		return status
	}
	const basic, birth = 0x7ff, 0x800 // STATX_BASIC_STATS, STATX_BTIME
	var a gofuse.Attr
	fillAttr(&a, &n)
	out.SetTimeout(forever)
	s := &out.Statx
	s.Mask = basic
	s.Ino, s.Size, s.Blocks, s.Blksize = a.Ino, a.Size, a.Blocks, a.Blksize
	s.Mode, s.Nlink, s.Uid, s.Gid = uint16(a.Mode), a.Nlink, a.Uid, a.Gid
	s.Atime, s.Mtime, s.Ctime = stamp(n.Atime), stamp(n.Mtime), stamp(n.Ctime)
	if n.IsDevice() {
		s.RdevMajor, s.RdevMinor = n.Device()
	}
	if !n.Crtime.IsZero() {
		s.Mask |= birth
		s.Btime = stamp(n.Crtime)
	}
	return gofuse.OK
}

func stamp(t time.Time) gofuse.SxTime {
	return gofuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
}

func (f *front) Readlink(_ <-chan struct{}, header *gofuse.InHeader) ([]byte, gofuse.Status) {
	var n ext4.Inode
	if status := f.inode(&n, header.NodeId); !status.Ok() {
		return nil, status
	}
	target, err := n.Readlink()
	return []byte(target), f.status("readlink", err)
}

func (f *front) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	s, err := f.fs.Stat()
	fillStatfs(out, s)
	return f.status("statfs", err)
}

func fillStatfs(out *gofuse.StatfsOut, s ext4.Stat) {
	out.Bsize, out.Frsize = uint32(s.BlockSize), uint32(s.BlockSize)
	out.Blocks, out.Bfree, out.Bavail = s.Blocks, s.Free, s.Available
	out.Files, out.Ffree = s.Inodes, s.FreeInodes
	out.NameLen = s.MaxNameLen
}
