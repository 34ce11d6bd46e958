package importer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/posixacl"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Tar copies all entries of a tar archive, which may be compressed with gzip, bzip2 or zstd.
func (im *Importer) Tar(ctx context.Context, archive io.Reader) error {
	if err := EachTar(ctx, archive, im.Add); err != nil {
		return err
	}
	return im.Finish(ctx)
}

// EachTar calls add for each entry of a tar archive, which may be compressed. Its contents can be read until the next.
// An error of the archive may come after its last entry: a checksum is behind what it covers.
func EachTar(ctx context.Context, archive io.Reader, add func(context.Context, Entry) error) error {
	plain, err := decompress(archive)
	if err != nil {
		return err
	}
	defer plain.Close()
	for r := tar.NewReader(plain); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return plain.verify(ctx)
		}
		if err != nil {
			return fmt.Errorf("the archive: %w", err)
		}
		e, err := entryOf(h, contentsReader{ctx, r})
		if err != nil {
			return fmt.Errorf("%s: %w", output.Quote(h.Name), err)
		}
		if e == nil {
			continue
		}
		if err := add(ctx, *e); err != nil {
			return err
		}
	}
}

// contentsReader reads an entry's contents until its context ends: a hole may be far larger than the archive.
type contentsReader struct {
	ctx context.Context
	io.Reader
}

func (r contentsReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("the archive: %w", err)
	}
	return n, err
}

// entryOf is the entry of a header; nil for one that is no file.
func entryOf(h *tar.Header, r io.Reader) (*Entry, error) {
	e := &Entry{
		Path: h.Name, Mode: uint16(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid),
		Atime: h.AccessTime, Mtime: h.ModTime,
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<32-2 || h.Gid > 1<<32-2 {
		return nil, fmt.Errorf("owner %d:%d is no user and group of a file", h.Uid, h.Gid)
	}
	if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor >= 1<<12 || h.Devminor >= 1<<20 {
		return nil, fmt.Errorf("device %d:%d has no place in an inode", h.Devmajor, h.Devminor)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Mode |= disk.ModeRegular
		e.Size = uint64(h.Size)
		e.Sparse = isSparse(h)
		e.Contents = func(write func([]byte, int64) error) error { return copyPieces(r, e.Sparse, write) }
	case tar.TypeLink:
		if h.Linkname == "" {
			return nil, fmt.Errorf("a link to no name: %w", ext4.ErrInvalid)
		}
		e.Link = h.Linkname
	case tar.TypeSymlink:
		if h.Linkname == "" {
			return nil, fmt.Errorf("a symlink without a target: %w", ext4.ErrInvalid)
		}
		e.Mode, e.Target = disk.ModeSymlink|0o777, h.Linkname
	case tar.TypeChar:
		e.Mode |= disk.ModeChar
	case tar.TypeBlock:
		e.Mode |= disk.ModeBlock
	case tar.TypeDir:
		e.Mode |= disk.ModeDir
	case tar.TypeFifo:
		e.Mode |= disk.ModeFIFO
	case tar.TypeXGlobalHeader:
		return nil, nil
	default:
		return nil, fmt.Errorf("an entry of type %q, which varve does not know", h.Typeflag)
	}
	e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	var err error
	e.Xattrs, err = xattrsOf(h)
	return e, err
}

// isSparse reports whether the archive has the file's holes as holes.
func isSparse(h *tar.Header) bool {
	return h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" ||
		h.PAXRecords["GNU.sparse.map"] != ""
}

// xattrsOf are the attributes in the records of star and GNU tar, and of libarchive, in the order of their names.
func xattrsOf(h *tar.Header) ([]Xattr, error) {
	var out []Xattr
	for key, value := range h.PAXRecords {
		x := Xattr{Value: []byte(value)}
		var err error
		switch name, rest, _ := cutRecord(key); name {
		case "SCHILY.xattr.":
			x.Name = rest
		case "LIBARCHIVE.xattr.":
			if _, both := h.PAXRecords["SCHILY.xattr."+rest]; both {
				continue
			}
			x.Name = rest
			x.Value, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
		case "SCHILY.acl.access":
			x.Name = "system.posix_acl_access"
			x.Value, err = posixacl.Parse(value)
		case "SCHILY.acl.default":
			x.Name = "system.posix_acl_default"
			x.Value, err = posixacl.Parse(value)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", output.Quote(key), err)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// cutRecord splits a record's key into what says how it is written, and an attribute's name.
func cutRecord(key string) (kind, name string, ok bool) {
	for _, prefix := range []string{"SCHILY.xattr.", "LIBARCHIVE.xattr."} {
		if rest, ok := strings.CutPrefix(key, prefix); ok && rest != "" {
			return prefix, rest, true
		}
	}
	return key, "", false
}

// pieceBytes is the size of one write: one transaction.
const pieceBytes = 1 << 20

// buffers are of pieceBytes: most files are far smaller, and there may be many.
var buffers = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// HoleBytes is the smallest run of zeros of a sparse file that becomes a hole.
const HoleBytes = 4096

// copyPieces hands on what a reader has. Zeros of a sparse file are left out in runs of HoleBytes.
func copyPieces(r io.Reader, sparse bool, write func([]byte, int64) error) error {
	piece := buffers.Get().(*[pieceBytes]byte)
	defer buffers.Put(piece)
	buf := piece[:]
	for at := int64(0); ; {
		n, err := fill(r, buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if werr := writeData(buf[:n], at, sparse, write); werr != nil {
			return werr
		}
		at += int64(n)
		if err != nil {
			return nil
		}
	}
}

// fill reads until a buffer is full or an error comes. Unlike io.ReadFull it leaves io.ErrUnexpectedEOF to the reader,
// for which that is an archive that was cut off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// Reader is the contents of a stream.
func Reader(r io.Reader) func(write func(p []byte, at int64) error) error {
	return func(write func([]byte, int64) error) error { return copyPieces(r, false, write) }
}

// writeData writes a piece, of a sparse file without its holes.
func writeData(p []byte, at int64, sparse bool, write func([]byte, int64) error) error {
	if len(p) == 0 {
		return nil
	}
	if !sparse {
		return write(p, at)
	}
	var zeros [HoleBytes]byte
	for begin := 0; begin < len(p); {
		end := begin
		for end < len(p) && !bytes.Equal(p[end:min(end+HoleBytes, len(p))], zeros[:min(HoleBytes, len(p)-end)]) {
			end = min(end+HoleBytes, len(p))
		}
		if end > begin {
			if err := write(p[begin:end], at+int64(begin)); err != nil {
				return err
			}
		}
		begin = min(end+HoleBytes, len(p))
	}
	return nil
}
