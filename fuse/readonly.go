package fuse

import (
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// Requests that would change the file system are refused. The kernel refuses most of it before it asks, because the
// mount is read-only.

const erofs = gofuse.Status(syscall.EROFS)

func (f *front) SetAttr(<-chan struct{}, *gofuse.SetAttrIn, *gofuse.AttrOut) gofuse.Status {
	return erofs
}

func (f *front) Mknod(<-chan struct{}, *gofuse.MknodIn, string, *gofuse.EntryOut) gofuse.Status {
	return erofs
}

func (f *front) Mkdir(<-chan struct{}, *gofuse.MkdirIn, string, *gofuse.EntryOut) gofuse.Status {
	return erofs
}

func (f *front) Unlink(<-chan struct{}, *gofuse.InHeader, string) gofuse.Status { return erofs }

func (f *front) Rmdir(<-chan struct{}, *gofuse.InHeader, string) gofuse.Status { return erofs }

func (f *front) Rename(<-chan struct{}, *gofuse.RenameIn, string, string) gofuse.Status {
	return erofs
}

func (f *front) Link(<-chan struct{}, *gofuse.LinkIn, string, *gofuse.EntryOut) gofuse.Status {
	return erofs
}

func (f *front) Symlink(<-chan struct{}, *gofuse.InHeader, string, string, *gofuse.EntryOut) gofuse.Status {
	return erofs
}

func (f *front) SetXAttr(<-chan struct{}, *gofuse.SetXAttrIn, string, []byte) gofuse.Status {
	return erofs
}

func (f *front) RemoveXAttr(<-chan struct{}, *gofuse.InHeader, string) gofuse.Status { return erofs }

func (f *front) Create(<-chan struct{}, *gofuse.CreateIn, string, *gofuse.CreateOut) gofuse.Status {
	return erofs
}

func (f *front) Tmpfile(<-chan struct{}, *gofuse.CreateIn, *gofuse.CreateOut) gofuse.Status {
	return erofs
}

func (f *front) Write(<-chan struct{}, *gofuse.WriteIn, []byte) (uint32, gofuse.Status) {
	return 0, erofs
}

func (f *front) CopyFileRange(<-chan struct{}, *gofuse.CopyFileRangeIn) (uint32, gofuse.Status) {
	return 0, erofs
}

func (f *front) Fallocate(<-chan struct{}, *gofuse.FallocateIn) gofuse.Status { return erofs }
