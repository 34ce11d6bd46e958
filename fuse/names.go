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

func (f *writable) Mknod(cancel <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	c := ext4.CreateOptions{
		Mode:  uint16(in.Mode),
		Umask: uint16(in.Umask),
		Major: in.Rdev >> 8 & 0xfff,
		Minor: in.Rdev&0xff | in.Rdev>>12&0xfff00,
	}
	return f.made("mknod", cancel, &in.InHeader, out, func(who ext4.Cred) (ext4.Inode, error) {
		return f.fs.Create(who, node(in.NodeId), name, c)
	})
}

func (f *writable) Mkdir(
	cancel <-chan struct{},
	in *gofuse.MkdirIn,
	name string,
	out *gofuse.EntryOut,
) gofuse.Status {
	c := ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeDir, Umask: uint16(in.Umask)}
	return f.made("mkdir", cancel, &in.InHeader, out, func(who ext4.Cred) (ext4.Inode, error) {
		return f.fs.Create(who, node(in.NodeId), name, c)
	})
}

func (f *writable) Symlink(
	cancel <-chan struct{},
	header *gofuse.InHeader,
	target, name string,
	out *gofuse.EntryOut,
) gofuse.Status {
	c := ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target}
	return f.made("symlink", cancel, header, out, func(who ext4.Cred) (ext4.Inode, error) {
		return f.fs.Create(who, node(header.NodeId), name, c)
	})
}

func (f *writable) Link(cancel <-chan struct{}, in *gofuse.LinkIn, name string, out *gofuse.EntryOut) gofuse.Status {
	return f.made("link", cancel, &in.InHeader, out, func(who ext4.Cred) (ext4.Inode, error) {
		return f.fs.Link(who, node(in.Oldnodeid), node(in.NodeId), name)
	})
}

func (f *writable) Create(
	cancel <-chan struct{},
	in *gofuse.CreateIn,
	name string,
	out *gofuse.CreateOut,
) gofuse.Status {
	if f.noOpen {
		return gofuse.ENOSYS
	}
	return f.madeOpen("create", cancel, in, out, func(who ext4.Cred, c ext4.CreateOptions) (ext4.Inode, error) {
		return f.fs.Create(who, node(in.NodeId), name, c)
	})
}

func (f *writable) Tmpfile(cancel <-chan struct{}, in *gofuse.CreateIn, out *gofuse.CreateOut) gofuse.Status {
	return f.madeOpen("tmpfile", cancel, in, out, func(who ext4.Cred, c ext4.CreateOptions) (ext4.Inode, error) {
		return f.fs.Tmpfile(who, node(in.NodeId), c)
	})
}

// madeOpen answers with a regular file that is made and opened.
func (f *writable) madeOpen(
	op string,
	cancel <-chan struct{},
	in *gofuse.CreateIn,
	out *gofuse.CreateOut,
	do func(ext4.Cred, ext4.CreateOptions) (ext4.Inode, error),
) gofuse.Status {
	c := ext4.CreateOptions{Mode: uint16(in.Mode)&0o7777 | disk.ModeRegular, Umask: uint16(in.Umask)}
	status := f.made(op, cancel, &in.InHeader, &out.EntryOut, func(who ext4.Cred) (ext4.Inode, error) {
		return do(who, c)
	})
	f.opened(&in.InHeader, in.Flags, &out.OpenOut)
	f.writers.opened(out.NodeId, in.Flags, status)
	return status
}

// made answers with an inode that is made, or that a link is made to.
func (f *writable) made(
	op string,
	cancel <-chan struct{},
	h *gofuse.InHeader,
	out *gofuse.EntryOut,
	do func(ext4.Cred) (ext4.Inode, error),
) gofuse.Status {
	return f.change(op, cancel, h, func(who ext4.Cred) error {
		n, err := do(who)
		if err == nil {
			fillEntry(out, &n)
			f.lookups.add(out.NodeId)
		}
		return err
	})
}

func (f *writable) Unlink(cancel <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	return f.change("unlink", cancel, header, func(who ext4.Cred) error {
		_, err := f.fs.Unlink(who, node(header.NodeId), name)
		return err
	})
}

func (f *writable) Rmdir(cancel <-chan struct{}, header *gofuse.InHeader, name string) gofuse.Status {
	return f.change("rmdir", cancel, header, func(who ext4.Cred) error {
		_, err := f.fs.Rmdir(who, node(header.NodeId), name)
		return err
	})
}

func (f *writable) Rename(cancel <-chan struct{}, in *gofuse.RenameIn, name, newName string) gofuse.Status {
	return f.change("rename", cancel, &in.InHeader, func(who ext4.Cred) error {
		_, err := f.fs.Rename(who, node(in.NodeId), name, node(in.Newdir), newName, ext4.RenameFlags(in.Flags))
		return err
	})
}

func (f *writable) Readlink(cancel <-chan struct{}, header *gofuse.InHeader) (target []byte, status gofuse.Status) {
	status = f.view(func(r *front) gofuse.Status {
		target, status = r.Readlink(cancel, header)
		return status
	})
	f.accessed(cancel, header, status)
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
	f.accessed(cancel, &in.InHeader, status)
	return status
}

func (f *writable) ReadDirPlus(cancel <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	status := f.view(func(r *front) gofuse.Status { return r.ReadDirPlus(cancel, in, out) })
	f.accessed(cancel, &in.InHeader, status)
	return status
}
