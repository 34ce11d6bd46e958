package fuse

import (
	"sync"
	"sync/atomic"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
)

// xattrProof is whether the image provably has no extended attributes at all. Only then may GETXATTR be answered with
// ENOSYS, after which the kernel never asks again on this mount. LISTXATTR is always answered: the kernel would turn
// ENOSYS into an error, where ext4 has an empty list.
type xattrProof struct {
	once sync.Once
	none atomic.Bool
}

// noXattrs starts the search for attributes at the first request for one, and reports whether it has ended without
// finding any.
func (f *front) noXattrs() bool {
	f.xattrs.once.Do(func() {
		go func() { f.xattrs.none.Store(f.fs.ProvablyNoXattrs()) }()
	})
	return f.xattrs.none.Load()
}

func (f *front) GetXAttr(_ <-chan struct{}, header *gofuse.InHeader, name string, dest []byte) (uint32, gofuse.Status) {
	if f.xattrs != nil && f.noXattrs() {
		return 0, gofuse.ENOSYS
	}
	if f.shut.Load() {
		return 0, gofuse.EIO
	}
	var n ext4.Inode
	if status := f.inode(&n, header.NodeId); !status.Ok() {
		return 0, status
	}
	value, err := n.Xattr(name)
	if err != nil {
		return 0, f.status("getxattr", err)
	}
	return fit(value, dest)
}

func (f *front) ListXAttr(_ <-chan struct{}, header *gofuse.InHeader, dest []byte) (uint32, gofuse.Status) {
	var n ext4.Inode
	if status := f.inode(&n, header.NodeId); !status.Ok() {
		return 0, status
	}
	names, err := n.XattrNames(header.Uid == 0)
	if err != nil {
		return 0, f.status("listxattr", err)
	}
	return fit(names, dest)
}

// fit copies a reply into dest; an empty dest asks for the size.
func fit(value, dest []byte) (uint32, gofuse.Status) {
	if len(dest) == 0 {
		return uint32(len(value)), gofuse.OK
	}
	if len(value) > len(dest) {
		return uint32(len(value)), gofuse.Status(syscall.ERANGE)
	}
	return uint32(copy(dest, value)), gofuse.OK
}
