package ext4

import (
	"errors"
	"fmt"
	"io"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Segment is a piece of a file's contents, in one of three forms: a byte range of the image, bytes at hand, or zeros.
type Segment struct {
	Len   int
	Image int64  // offset on the image in bytes where the contents lie; -1 otherwise
	Bytes []byte // the contents, immutable; nil where Image is set, and for zeros
}

// Segments appends the pieces of up to size bytes of a file from offset on, and ends at the file's end. The pieces say
// where contents are, so that a caller can hand them on without a copy.
func (n *Inode) Segments(dst []Segment, offset int64, size int) ([]Segment, error) {
	if n.IsRegular() && n.Has(disk.InodeEncrypt) {
		return dst, fmt.Errorf("inode %d: %w", n.Ino, ErrNoKey)
	}
	if n.verified() {
		return n.verifiedSegments(dst, offset, size)
	}
	if offset < 0 || uint64(offset) >= n.Size {
		return dst, nil
	}
	size = int(min(uint64(size), n.Size-uint64(offset)))
	if n.Has(disk.InodeInlineData) {
		return n.inlineSegments(dst, int(offset), size)
	}
	return n.segments(dst, offset, size)
}

// segments appends the pieces of size bytes of a file's blocks, which may lie behind its end.
func (n *Inode) segments(dst []Segment, offset int64, size int) ([]Segment, error) {
	bs := int64(n.fs.super.BlockSize)
	for size > 0 {
		b := offset / bs
		if b >= maxFileBlocks {
			return dst, ondisk.Corruptf(n.where(), "size is %d bytes, past what the format can map", n.Size)
		}
		run, err := n.Map(FileBlock(b))
		if err != nil {
			return dst, err
		}
		skip := offset - b*bs
		length := int(min(uint64(size), run.Len*uint64(bs)-uint64(skip)))
		if dst, err = n.fs.runSegments(dst, run, skip, length); err != nil {
			return dst, err
		}
		offset += int64(length)
		size -= length
	}
	return dst, nil
}

// runSegments appends the pieces of length bytes of a run, from byte skip of it on.
func (fs *FS) runSegments(dst []Segment, run Run, skip int64, length int) ([]Segment, error) {
	if run.Kind != Data {
		return append(dst, Segment{Len: length, Image: -1}), nil
	}
	at := fs.super.BlockSize.Offset(run.Start) + skip
	if fs.log.at == nil && !fs.view.fileData {
		return append(dst, Segment{Len: length, Image: at}), nil
	}
	return fs.loggedSegments(dst, at, length)
}

// loggedSegments is runSegments where the journal may hold newer copies of some blocks.
func (fs *FS) loggedSegments(dst []Segment, at int64, length int) ([]Segment, error) {
	bs := int64(fs.super.BlockSize)
	for length > 0 {
		nr, within := block.Number(at/bs), int(at%bs)
		piece := Segment{Len: min(length, int(bs)-within), Image: at}
		p, err := fs.newer(nr)
		if err != nil {
			return dst, err
		}
		if p != nil {
			piece.Image, piece.Bytes = -1, p[within:within+piece.Len]
		}
		if last := len(dst) - 1; piece.Bytes == nil && last >= 0 && dst[last].Image >= 0 &&
			dst[last].Image+int64(dst[last].Len) == at {
			dst[last].Len += piece.Len
		} else {
			dst = append(dst, piece)
		}
		at += int64(piece.Len)
		length -= piece.Len
	}
	return dst, nil
}

// newer is the newest form of a block of file data that is not home: in the journal, or a version of the store. nil: it
// is home.
func (fs *FS) newer(n block.Number) ([]byte, error) {
	if e, ok := fs.log.at[n]; ok {
		return fs.log.read(e)
	}
	if fs.view.versioned(n) {
		return fs.block(n)
	}
	return nil, nil
}

// ReadAt reads a file's contents, by the rules of io.ReaderAt.
func (n *Inode) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	if n.verified() {
		return n.readVerifiedAt(p, offset)
	}
	segments, err := n.Segments(nil, offset, len(p))
	if err != nil {
		return 0, err
	}
	done, err := n.readSegments(p, segments)
	if err == nil && done < len(p) {
		err = io.EOF
	}
	return done, err
}

// readSegments reads pieces into p, and returns how many bytes they are.
func (n *Inode) readSegments(p []byte, segments []Segment) (done int, err error) {
	for _, s := range segments {
		dst := p[done : done+s.Len]
		switch {
		case s.Bytes != nil:
			copy(dst, s.Bytes)
		case s.Image < 0:
			clear(dst)
		default:
			if got, err := n.fs.image.ReadAt(dst, s.Image); got < len(dst) {
				nr := block.Number((s.Image + int64(got)) / int64(n.fs.super.BlockSize))
				return done + got, fmt.Errorf("inode %d: %w", n.Ino, readError(nr, err))
			}
		}
		done += s.Len
	}
	return done, nil
}

// readAll reads the contents of a small file (a symlink, an attribute's value) of at most limit bytes.
func (n *Inode) readAll(limit int) ([]byte, error) {
	if n.Size > uint64(limit) {
		return nil, ondisk.Corruptf(n.where(), "%d bytes, expected at most %d", n.Size, limit)
	}
	p := make([]byte, n.Size)
	if _, err := n.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}

// SeekData and SeekHole return the first offset from the given one on that holds data, or a hole, as lseek(2) does for
// SEEK_DATA and SEEK_HOLE: unwritten blocks count as holes, the file's end is a hole, and an offset at or past it (or
// no data behind it) is ErrNoData. A file under verity has no holes: their zeros are verified as all its contents are.
func (n *Inode) SeekData(offset int64) (int64, error) { return n.seek(offset, true) }
func (n *Inode) SeekHole(offset int64) (int64, error) { return n.seek(offset, false) }

func (n *Inode) seek(offset int64, data bool) (int64, error) {
	if offset < 0 || uint64(offset) >= n.Size {
		return 0, ErrNoData
	}
	if n.Has(disk.InodeInlineData) || n.verified() {
		if data {
			return offset, nil
		}
		return int64(n.Size), nil
	}
	bs := int64(n.fs.super.BlockSize)
	for at := offset; uint64(at) < n.Size; {
		if at/bs >= maxFileBlocks {
			return 0, ondisk.Corruptf(n.where(), "size is %d bytes, past what the format can map", n.Size)
		}
		run, err := n.Map(FileBlock(at / bs))
		if err != nil {
			return 0, err
		}
		if (run.Kind == Data) == data {
			return at, nil
		}
		at = (at/bs + int64(run.Len)) * bs
	}
	if data {
		return 0, ErrNoData
	}
	return int64(n.Size), nil
}
