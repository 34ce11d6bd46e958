package fuse

import gofuse "github.com/hanwen/go-fuse/v2/fuse"

// The requests that a tap observes. GETATTR and FORGET are left out: they are the kernel's own upkeep.

func (t *tap) Lookup(cancel <-chan struct{}, h *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	o := t.begin("lookup", h)
	o.named(name)
	status := t.RawFileSystem.Lookup(cancel, h, name, out)
	o.made(out, status)
	return t.end(o, h, status)
}

func (t *tap) Mknod(cancel <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	o := t.begin("mknod", &in.InHeader)
	o.named(name)
	status := t.RawFileSystem.Mknod(cancel, in, name, out)
	o.made(out, status)
	return t.end(o, &in.InHeader, status)
}

func (t *tap) Mkdir(cancel <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	o := t.begin("mkdir", &in.InHeader)
	o.named(name)
	status := t.RawFileSystem.Mkdir(cancel, in, name, out)
	o.made(out, status)
	return t.end(o, &in.InHeader, status)
}

func (t *tap) Symlink(
	cancel <-chan struct{}, h *gofuse.InHeader, target, name string, out *gofuse.EntryOut,
) gofuse.Status {
	o := t.begin("symlink", h)
	o.named(name)
	status := t.RawFileSystem.Symlink(cancel, h, target, name, out)
	o.made(out, status)
	return t.end(o, h, status)
}

func (t *tap) Link(cancel <-chan struct{}, in *gofuse.LinkIn, name string, out *gofuse.EntryOut) gofuse.Status {
	o := t.begin("link", &in.InHeader)
	if o != nil {
		o.Inode = node(in.Oldnodeid).Ino()
	}
	o.to(in.NodeId, name)
	return t.end(o, &in.InHeader, t.RawFileSystem.Link(cancel, in, name, out))
}

func (t *tap) Create(cancel <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	o := t.begin("create", &in.InHeader)
	o.named(name)
	status := t.RawFileSystem.Create(cancel, in, name, out)
	o.made(&out.EntryOut, status)
	return t.end(o, &in.InHeader, status)
}

func (t *tap) Tmpfile(cancel <-chan struct{}, in *gofuse.CreateIn, out *gofuse.CreateOut) gofuse.Status {
	o := t.begin("tmpfile", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.Tmpfile(cancel, in, out))
}

func (t *tap) Unlink(cancel <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	o := t.begin("unlink", h)
	o.named(name)
	return t.end(o, h, t.RawFileSystem.Unlink(cancel, h, name))
}

func (t *tap) Rmdir(cancel <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	o := t.begin("rmdir", h)
	o.named(name)
	return t.end(o, h, t.RawFileSystem.Rmdir(cancel, h, name))
}

func (t *tap) Rename(cancel <-chan struct{}, in *gofuse.RenameIn, name, newName string) gofuse.Status {
	o := t.begin("rename", &in.InHeader)
	o.named(name)
	o.to(in.Newdir, newName)
	return t.end(o, &in.InHeader, t.RawFileSystem.Rename(cancel, in, name, newName))
}

func (t *tap) Readlink(cancel <-chan struct{}, h *gofuse.InHeader) ([]byte, gofuse.Status) {
	o := t.begin("readlink", h)
	target, status := t.RawFileSystem.Readlink(cancel, h)
	return target, t.end(o, h, status)
}

// setattrName is what a SETATTR is for.
func setattrName(valid uint32) string {
	switch {
	case valid&gofuse.FATTR_SIZE != 0:
		return "truncate"
	case valid&gofuse.FATTR_MODE != 0:
		return "chmod"
	case valid&(gofuse.FATTR_UID|gofuse.FATTR_GID) != 0:
		return "chown"
	}
	return "utimes"
}

func (t *tap) SetAttr(cancel <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	o := t.begin(setattrName(in.Valid), &in.InHeader)
	if in.Valid&gofuse.FATTR_SIZE != 0 {
		o.span(in.Size, 0)
	}
	return t.end(o, &in.InHeader, t.RawFileSystem.SetAttr(cancel, in, out))
}

func (t *tap) GetXAttr(cancel <-chan struct{}, h *gofuse.InHeader, name string, dest []byte) (uint32, gofuse.Status) {
	o := t.begin("getxattr", h)
	o.attribute(name)
	n, status := t.RawFileSystem.GetXAttr(cancel, h, name, dest)
	return n, t.end(o, h, status)
}

func (t *tap) ListXAttr(cancel <-chan struct{}, h *gofuse.InHeader, dest []byte) (uint32, gofuse.Status) {
	o := t.begin("listxattr", h)
	n, status := t.RawFileSystem.ListXAttr(cancel, h, dest)
	return n, t.end(o, h, status)
}

func (t *tap) SetXAttr(cancel <-chan struct{}, in *gofuse.SetXAttrIn, name string, value []byte) gofuse.Status {
	o := t.begin("setxattr", &in.InHeader)
	o.attribute(name)
	return t.end(o, &in.InHeader, t.RawFileSystem.SetXAttr(cancel, in, name, value))
}

func (t *tap) RemoveXAttr(cancel <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	o := t.begin("removexattr", h)
	o.attribute(name)
	return t.end(o, h, t.RawFileSystem.RemoveXAttr(cancel, h, name))
}

func (t *tap) Open(cancel <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	o := t.begin("open", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.Open(cancel, in, out))
}

func (t *tap) Read(cancel <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	o := t.begin("read", &in.InHeader)
	o.span(in.Offset, uint64(in.Size))
	result, status := t.RawFileSystem.Read(cancel, in, buf)
	return result, t.end(o, &in.InHeader, status)
}

func (t *tap) Release(cancel <-chan struct{}, in *gofuse.ReleaseIn) {
	o := t.begin("release", &in.InHeader)
	t.RawFileSystem.Release(cancel, in)
	t.end(o, &in.InHeader, gofuse.OK)
}

func (t *tap) Write(cancel <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	o := t.begin("write", &in.InHeader)
	o.span(in.Offset, uint64(in.Size))
	n, status := t.RawFileSystem.Write(cancel, in, data)
	return n, t.end(o, &in.InHeader, status)
}

func (t *tap) Writev(cancel <-chan struct{}, in *gofuse.WriteIn, pieces [][]byte) (uint32, gofuse.Status) {
	o := t.begin("write", &in.InHeader)
	o.span(in.Offset, uint64(in.Size))
	n, status := t.RawFileSystem.Writev(cancel, in, pieces)
	return n, t.end(o, &in.InHeader, status)
}

func (t *tap) CopyFileRange(cancel <-chan struct{}, in *gofuse.CopyFileRangeIn) (uint32, gofuse.Status) {
	o := t.begin("copy_file_range", &in.InHeader)
	o.span(in.OffIn, in.Len)
	if o != nil {
		o.To = node(in.NodeIdOut).Ino()
	}
	n, status := t.RawFileSystem.CopyFileRange(cancel, in)
	return n, t.end(o, &in.InHeader, status)
}

func (t *tap) Ioctl(
	cancel <-chan struct{}, in *gofuse.IoctlIn, arg []byte, out *gofuse.IoctlOut, result []byte,
) gofuse.Status {
	o := t.begin("ioctl", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.Ioctl(cancel, in, arg, out, result))
}

func (t *tap) Lseek(cancel <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	o := t.begin("lseek", &in.InHeader)
	o.span(in.Offset, 0)
	return t.end(o, &in.InHeader, t.RawFileSystem.Lseek(cancel, in, out))
}

func (t *tap) Fsync(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	o := t.begin("fsync", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.Fsync(cancel, in))
}

func (t *tap) FsyncDir(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	o := t.begin("fsyncdir", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.FsyncDir(cancel, in))
}

func (t *tap) Fallocate(cancel <-chan struct{}, in *gofuse.FallocateIn) gofuse.Status {
	o := t.begin("fallocate", &in.InHeader)
	o.span(in.Offset, in.Length)
	return t.end(o, &in.InHeader, t.RawFileSystem.Fallocate(cancel, in))
}

func (t *tap) OpenDir(cancel <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	o := t.begin("opendir", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.OpenDir(cancel, in, out))
}

func (t *tap) ReadDir(cancel <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	o := t.begin("readdir", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.ReadDir(cancel, in, out))
}

func (t *tap) ReadDirPlus(cancel <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	o := t.begin("readdir", &in.InHeader)
	return t.end(o, &in.InHeader, t.RawFileSystem.ReadDirPlus(cancel, in, out))
}

func (t *tap) StatFs(cancel <-chan struct{}, h *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	o := t.begin("statfs", h)
	return t.end(o, h, t.RawFileSystem.StatFs(cancel, h, out))
}
