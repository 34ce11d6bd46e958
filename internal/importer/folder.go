package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/output"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Folder copies a file or a folder and all below it to a path, in the order of its names. Sockets are left out and
// reported to skipped.
func (im *Importer) Folder(ctx context.Context, source, path string, skipped func(name string)) error {
	if err := EachFile(ctx, source, path, skipped, im.Add); err != nil {
		return err
	}
	return im.Finish(ctx)
}

// EachFile calls add for each file of a folder, and the folder itself, as Folder does.
func EachFile(
	ctx context.Context, source, path string, skipped func(name string), add func(context.Context, Entry) error,
) error {
	links := map[[2]uint64]string{} // the first path of each file with several
	return filepath.WalkDir(source, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		e, err := hostEntry(name, filepath.Join(path, rest), links)
		if err != nil {
			return fmt.Errorf("%s: %w", output.Quote(name), err)
		}
		if e.Mode&disk.ModeType == disk.ModeSocket {
			if skipped != nil {
				skipped(name)
			}
			return nil
		}
		return add(ctx, *e)
	})
}

// hostEntry is the entry of a file of this machine.
func hostEntry(name, path string, links map[[2]uint64]string) (*Entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return nil, err
	}
	e := &Entry{
		Path: path, Mode: uint16(st.Mode), UID: st.Uid, GID: st.Gid,
		Atime: time.Unix(st.Atim.Unix()), Mtime: time.Unix(st.Mtim.Unix()),
	}
	if st.Nlink > 1 && e.Mode&disk.ModeType != disk.ModeDir {
		id := [2]uint64{st.Dev, st.Ino}
		if first, ok := links[id]; ok {
			e.Link = first
			return e, nil
		}
		links[id] = path
	}
	var err error
	switch e.Mode & disk.ModeType {
	case disk.ModeRegular:
		e.Size = uint64(st.Size)
		e.Sparse = st.Blocks*512 < st.Size
		e.Contents = func(write func([]byte, int64) error) error { return copyFile(name, write) }
	case disk.ModeSymlink:
		e.Target, err = os.Readlink(name)
	case disk.ModeChar, disk.ModeBlock:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if err != nil {
		return nil, err
	}
	e.Xattrs, err = hostXattrs(name)
	return e, err
}

// hostXattrs are a file's attributes, as far as this process may read them, in the order of their names.
func hostXattrs(name string) ([]Xattr, error) {
	n, err := unix.Llistxattr(name, nil)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, n)
	if n, err = unix.Llistxattr(name, buf); err != nil {
		return nil, err
	}
	var out []Xattr
	for _, attr := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		size, err := unix.Lgetxattr(name, attr, nil)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", output.Quote(attr), err)
		}
		value := make([]byte, size)
		if size, err = unix.Lgetxattr(name, attr, value); err != nil {
			return nil, fmt.Errorf("attribute %s: %w", output.Quote(attr), err)
		}
		out = append(out, Xattr{attr, value[:size]})
	}
	slices.SortFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// copyFile hands on a file's contents without its holes.
func copyFile(name string, write func([]byte, int64) error) error {
	// The name may lead elsewhere by now: to a symlink, or to a pipe that nobody writes to.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := buffers.Get().(*[pieceBytes]byte)
	defer buffers.Put(piece)
	buf := piece[:]
	for at := int64(0); ; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = f.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		for start < at {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), at-start)], start)
			if n == 0 {
				return fmt.Errorf("read at byte %d: %w", start, err) // shorter than a moment ago
			}
			if err := write(buf[:n], start); err != nil {
				return err
			}
			start += int64(n)
		}
	}
}
