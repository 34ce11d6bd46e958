package fuse

import (
	"context"
	"errors"
	"slices"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
)

// openPrivileged is the handle of a file whose opener may use reserved blocks; others are 0. By it alone writes that
// the kernel sends later, of gathered or mapped pages, show their user: theirs is root, or none. openDurable is added
// for O_SYNC and O_DSYNC: requests other than writes do not have that.
const (
	openPrivileged = 1 << iota
	openDurable
)

// scarce is the room in bytes below which files are opened for writing past the writeback cache, so that write(2)
// itself reports that it is short.
const scarce = 8 << 20

// opened says how a file is opened. Direct writes of one file run at a time; its cached pages stay valid, because every
// change comes through the kernel.
func (f *writable) opened(h *gofuse.InHeader, flags uint32, out *gofuse.OpenOut) {
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	writing := flags&(syscall.O_WRONLY|syscall.O_RDWR) != 0
	switch {
	case flags&syscall.O_DIRECT != 0:
		out.OpenFlags = gofuse.FOPEN_DIRECT_IO | gofuse.FOPEN_PARALLEL_DIRECT_WRITES
	case writing && f.writeback && f.fs.Room() < scarce && !mutant.Off(mutant.GatheredRoom):
		out.OpenFlags = gofuse.FOPEN_DIRECT_IO
	}
	if writing && f.fs.MayUseReserved(f.credOf(h, nil)) {
		out.Fh |= openPrivileged
	}
	if writing && flags&syscall.O_DSYNC != 0 {
		out.Fh |= openDurable
	}
}

// durable makes changes durable if their handle asks for that.
func (f *writable) durable(ctx context.Context, id, fh uint64) error {
	if fh&openDurable == 0 || mutant.Off(mutant.DirectSync) {
		return nil
	}
	return f.syncDone(ctx, id)
}

// syncDone makes a change durable that is done. It is no error that the thread that asked dies meanwhile: the kernel
// would take the change for one that failed.
func (f *writable) syncDone(ctx context.Context, id uint64) error {
	err := f.fs.SyncNode(ctx, node(id))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (f *writable) Write(cancel <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	if in.WriteFlags&gofuse.WRITE_CACHE != 0 && !mutant.Off(mutant.WritebackRoot) {
		return f.writeBack(in, data)
	}
	write := f.fs.Write
	whole := in.Flags&syscall.O_DIRECT != 0 && !mutant.Off(mutant.DirectWhole)
	if whole {
		write = f.fs.WriteWhole
	}
	r := f.requester(cancel, &in.InHeader)
	defer r.end()
	n, err := write(
		f.credOf(&in.InHeader, r),
		node(in.NodeId),
		int64(in.Offset),
		data,
		in.WriteFlags&gofuse.WRITE_KILL_SUIDGID != 0,
	)
	if whole && err != nil {
		if n > 0 {
			f.partlyDone(in.NodeId, err)
		}
		n = 0 // the kernel makes EIO of a direct write that is answered short (fs/fuse/file.c, fuse_get_res_by_io)
	}
	if n > 0 && in.Flags&syscall.O_DSYNC != 0 && !mutant.Off(mutant.DirectSync) {
		// O_SYNC, O_DSYNC and RWF_DSYNC: the kernel asks for no FSYNC after a direct write (fs/fuse/file.c,
		// fuse_write_flags).
		if err := f.syncDone(r, in.NodeId); err != nil {
			return 0, f.status("write", err)
		}
	}
	if n > 0 {
		return uint32(n), gofuse.OK
	}
	return 0, f.status("write", err)
}

// writeBack writes pages that were gathered or mapped. It is answered short never: the kernel would take that for
// success.
func (f *writable) writeBack(in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	who := ext4.Cred{UID: 1<<32 - 1, GID: 1<<32 - 1}
	if in.Fh&openPrivileged != 0 {
		who = ext4.Cred{}
	}
	n, allocated, err := f.fs.WriteBack(
		who,
		node(in.NodeId),
		int64(in.Offset),
		data,
		in.WriteFlags&gofuse.WRITE_KILL_SUIDGID != 0,
	)
	if allocated && f.writeback {
		f.grown.record(in.NodeId, f.invalidateAttr)
	}
	if err == nil {
		return uint32(n), gofuse.OK
	}
	if errors.Is(err, ext4.ErrNoSpace) && f.writeback && f.shortage.failed(in.NodeId, int64(len(data)-n)) {
		go func() { // the kernel may be waiting for this answer with the inode locked
			if f.server != nil {
				_ = f.server.InodeNotify(in.NodeId, -1, 0)
			}
			f.shortage.notified(in.NodeId)
		}()
	}
	return 0, f.status("write", err)
}

// Writev is Write for data that arrived in pieces.
func (f *writable) Writev(cancel <-chan struct{}, in *gofuse.WriteIn, pieces [][]byte) (uint32, gofuse.Status) {
	if len(pieces) == 1 {
		return f.Write(cancel, in, pieces[0])
	}
	return f.Write(cancel, in, slices.Concat(pieces...))
}
