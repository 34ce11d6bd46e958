package fuse

import (
	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func (f *writable) Lookup(
	cancel <-chan struct{},
	header *gofuse.InHeader,
	name string,
	out *gofuse.EntryOut,
) gofuse.Status {
	return f.view(func(r *front) gofuse.Status { return r.Lookup(cancel, header, name, out) })
}

// Forget frees an inode that has no name any more when the kernel has given its last reference back. A reply may have
// given out another one since: what Evict checks behind the last link decides, because a node without links gets no new
// references.
func (f *writable) Forget(id, n uint64) {
	if !f.lookups.forget(id, n) {
		return
	}
	f.shortage.forget(id)
	if err := f.fs.EvictIf(node(id), func() bool { return f.lookups.none(id) }); err != nil {
		f.report("free an inode", err)
	}
}

func (f *writable) Mknod(_ <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	c := ext4.CreateOptions{
		Mode:  uint16(in.Mode),
		Umask: uint16(in.Umask),
		Major: in.Rdev >> 8 & 0xfff,
		Minor: in.Rdev&0xff | in.Rdev>>12&0xfff00,
	}
	n, err := f.fs.Create(cred(&in.InHeader), node(in.NodeId), name, c)
	return f.entry("mknod", out, &n, err)
}

func (f *writable) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	n, err := f.fs.Create(cred(&in.InHeader), node(in.NodeId), name,
		ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeDir, Umask: uint16(in.Umask)})
	return f.entry("mkdir", out, &n, err)
}

func (f *writable) Symlink(
	_ <-chan struct{},
	header *gofuse.InHeader,
	target, name string,
	out *gofuse.EntryOut,
) gofuse.Status {
	n, err := f.fs.Create(
		cred(header),
		node(header.NodeId),
		name,
		ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target},
	)
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
	status := f.entry("create", &out.EntryOut, &n, err)
	f.writers.opened(out.NodeId, in.Flags, status)
	return status
}

func (f *writable) Tmpfile(_ <-chan struct{}, in *gofuse.CreateIn, out *gofuse.CreateOut) gofuse.Status {
	n, err := f.fs.Tmpfile(cred(&in.InHeader), node(in.NodeId),
		ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeRegular, Umask: uint16(in.Umask)})
	f.opened(&in.InHeader, in.Flags, &out.OpenOut)
	status := f.entry("tmpfile", &out.EntryOut, &n, err)
	f.writers.opened(out.NodeId, in.Flags, status)
	return status
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
	_, err := f.fs.Rename(
		cred(&in.InHeader),
		node(in.NodeId),
		name,
		node(in.Newdir),
		newName,
		ext4.RenameFlags(in.Flags),
	)
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
