package fuse

import (
	"errors"
	"io"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
)

// accessed notes a read, by the rule of relatime.
func (f *writable) accessed(cancel <-chan struct{}, h *gofuse.InHeader, status gofuse.Status) {
	if !status.Ok() {
		return
	}
	r := f.requester(cancel, h)
	defer r.end()
	err := f.fs.Touch(f.credOf(h, r), node(h.NodeId))
	if err != nil && !errors.Is(err, ext4.ErrFailed) && r.Err() == nil {
		f.report("note the time of access", err)
	}
}

func (f *writable) Open(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	if f.noOpen {
		return gofuse.ENOSYS
	}
	if f.fs.ShutDown() {
		return gofuse.EIO
	}
	if f.encrypted || in.Flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 {
		status := f.view(func(r *front) gofuse.Status { return r.checkOpen(in) })
		if !status.Ok() {
			return status
		}
	}
	f.opened(&in.InHeader, in.Flags, out)
	f.writers.opened(in.NodeId, in.Flags, gofuse.OK)
	return gofuse.OK
}

func (f *writable) Read(
	cancel <-chan struct{},
	in *gofuse.ReadIn,
	buf []byte,
) (result gofuse.ReadResult, status gofuse.Status) {
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
		// one writev; go-fuse would splice plain bytes, in four system calls
		result = gofuse.ReadResultVector([][]byte{buf[:got]})
		return gofuse.OK
	})
	if touch {
		f.accessed(cancel, &in.InHeader, status)
	}
	return result, status
}

// Lseek looks for data and holes. Pages that the kernel has gathered are not in the file yet, and it asks nevertheless:
// it hands them over first.
func (f *writable) Lseek(cancel <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	if !mutant.Off(mutant.SeekPages) {
		f.handOver(in.NodeId)
	}
	return f.view(func(r *front) gofuse.Status { return r.Lseek(cancel, in, out) })
}

// Flush has nothing to do: closing a file makes nothing durable (E1).
func (f *writable) Flush(<-chan struct{}, *gofuse.FlushIn) gofuse.Status { return gofuse.ENOSYS }

// Release gives up the blocks reserved for the file to grow into.
func (f *writable) Release(_ <-chan struct{}, in *gofuse.ReleaseIn) {
	f.writers.released(in.NodeId, in.Flags)
	f.fs.Closed(node(in.NodeId))
}

// Fsync waits until the file is durable, or the thread that asks dies. Other signals do not end it.
func (f *writable) Fsync(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	if f.grown.take(in.NodeId) {
		f.invalidateAttr(in.NodeId)
	}
	return f.syncNode(cancel, in)
}

// FsyncDir is Fsync for a directory.
func (f *writable) FsyncDir(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return f.syncNode(cancel, in)
}

func (f *writable) syncNode(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return f.change("fsync", cancel, &in.InHeader, func(who ext4.Cred) error {
		return f.fs.SyncNode(who.Context, node(in.NodeId))
	})
}

// The modes of fallocate(2) that FUSE passes on.
const (
	fallocKeepSize  = 0x1
	fallocPunchHole = 0x2
	fallocZeroRange = 0x10
)

func (f *writable) Fallocate(cancel <-chan struct{}, in *gofuse.FallocateIn) gofuse.Status {
	return f.change("fallocate", cancel, &in.InHeader, func(who ext4.Cred) error {
		err := f.fallocate(who, in)
		if err == nil {
			return f.durable(who.Context, in.NodeId, in.Fh)
		}
		f.partlyDone(in.NodeId, err)
		return err
	})
}

func (f *writable) fallocate(who ext4.Cred, in *gofuse.FallocateIn) error {
	n, keep := node(in.NodeId), in.Mode&fallocKeepSize != 0
	switch in.Mode &^ fallocKeepSize {
	case 0:
		return f.fs.Allocate(who, n, in.Offset, in.Length, keep)
	case fallocPunchHole:
		return f.fs.Punch(who, n, in.Offset, in.Length)
	case fallocZeroRange:
		return f.fs.ZeroRange(who, n, in.Offset, in.Length, keep)
	}
	return ondisk.ErrUnsupported
}

func (f *writable) CopyFileRange(cancel <-chan struct{}, in *gofuse.CopyFileRangeIn) (uint32, gofuse.Status) {
	if f.fs.ShutDown() {
		return 0, gofuse.EIO
	}
	from := ext4.Range{Node: node(in.NodeId), Offset: int64(in.OffIn)}
	to := ext4.Range{Node: node(in.NodeIdOut), Offset: int64(in.OffOut)}
	r := f.requester(cancel, &in.InHeader)
	defer r.end()
	done, err := f.fs.CopyRange(until(cancel), f.credOf(&in.InHeader, r), from, to, in.Len)
	status := f.status("copy_file_range", err)
	if done == 0 && !status.Ok() {
		return 0, status
	}
	f.accessed(cancel, &in.InHeader, gofuse.OK)
	if err := f.durable(r, in.NodeIdOut, in.FhOut); err != nil {
		return 0, f.status("copy_file_range", err)
	}
	return uint32(done), gofuse.OK
}
