package fuse

import (
	"errors"
	"io"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
)

// Open needs no handle, see OpenDir, unless some files are encrypted: opening those is refused.
func (f *front) Open(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	if !f.handles {
		return gofuse.ENOSYS
	}
	if f.shut.Load() {
		return gofuse.EIO
	}
	if status := f.checkOpen(in); !status.Ok() {
		return status
	}
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	return gofuse.OK
}

// checkOpen checks that a file may be opened.
func (f *front) checkOpen(in *gofuse.OpenIn) gofuse.Status {
	var n ext4.Inode
	if status := f.inode(&n, in.NodeId); !status.Ok() {
		return status
	}
	return f.status("open", n.CheckOpen(in.Flags))
}

var zeros [maxRead]byte

func (f *front) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	if f.shut.Load() {
		return nil, gofuse.EIO
	}
	var n ext4.Inode
	if status := f.inode(&n, in.NodeId); !status.Ok() {
		return nil, status
	}
	var room [8]ext4.Segment
	segments, err := n.Segments(room[:0], int64(in.Offset), min(len(buf), maxRead))
	if err != nil {
		return nil, f.status("read", err)
	}
	if len(segments) == 0 {
		return gofuse.ReadResultData(nil), gofuse.OK
	}
	if result := f.vector(segments); result != nil {
		return result, gofuse.OK
	}
	got, err := n.ReadAt(buf, int64(in.Offset))
	if err != nil && !errors.Is(err, io.EOF) { // a short reply would pass for the file's end
		return nil, f.status("read", err)
	}
	return gofuse.ReadResultData(buf[:got]), gofuse.OK
}

// vector makes a reply out of pieces that lie in memory already: of the mapped image, of the metadata cache, and
// zeros. The kernel copies them from where they are; where the image was cut short behind our back that copy fails,
// and the reader gets EIO. It returns nil where a piece is not mapped.
func (f *front) vector(segments []ext4.Segment) gofuse.ReadResult {
	if f.mapped == nil {
		return nil
	}
	vecs := make([][]byte, len(segments))
	for i, s := range segments {
		switch {
		case s.Bytes != nil:
			vecs[i] = s.Bytes
		case s.Image < 0:
			vecs[i] = zeros[:s.Len]
		default:
			if vecs[i] = f.mapped.Slice(s.Image, s.Len); vecs[i] == nil {
				return nil
			}
			f.ahead.Touch(s.Image, int64(s.Len))
		}
	}
	return gofuse.ReadResultVector(vecs)
}

func (f *front) Lseek(_ <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	const seekData, seekHole = 3, 4
	var n ext4.Inode
	if status := f.inode(&n, in.NodeId); !status.Ok() {
		return status
	}
	var at int64
	var err error
	switch in.Whence {
	case seekData:
		at, err = n.SeekData(int64(in.Offset))
	case seekHole:
		at, err = n.SeekHole(int64(in.Offset))
	default:
		return gofuse.EINVAL
	}
	out.Offset = uint64(at)
	return f.status("lseek", err)
}

// Flush has nothing to do: ENOSYS has the kernel stop asking at each close.
func (f *front) Flush(<-chan struct{}, *gofuse.FlushIn) gofuse.Status { return gofuse.ENOSYS }
