package blockcache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is a regular file or a block device, opened for reading.
type File struct {
	file   *os.File
	size   int64
	named  bool   // it had a name when it was opened
	mapped []byte // the whole file; nil where it cannot be mapped
}

// maxMapped is the longest file that is mapped, in bytes: half of the 128 TiB that a process can address.
const maxMapped = 1 << 46

// OpenFile opens an image for reading. A directory, a character device, a pipe or an empty file is refused.
func OpenFile(path string) (*File, error) {
	// Without O_NONBLOCK opening a pipe waits for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := &File{file: f, named: hasName(f)}
	if err := d.inspect(path); err != nil {
		f.Close()
		return nil, err
	}
	// Mapping is an optimisation only: ReadAt serves what is not mapped.
	if d.size <= maxMapped {
		d.mapped, _ = unix.Mmap(int(f.Fd()), 0, int(d.size), unix.PROT_READ, unix.MAP_SHARED)
		if d.mapped != nil {
			_ = unix.Madvise(d.mapped, unix.MADV_RANDOM)
		}
	}
	return d, nil
}

func (d *File) inspect(path string) error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode()
	switch {
	case mode.IsDir():
		return fmt.Errorf("%s is a directory, not an image or a block device", path)
	case mode&os.ModeCharDevice != 0:
		return fmt.Errorf("%s is a character device, not an image or a block device", path)
	case !mode.IsRegular() && mode&os.ModeDevice == 0:
		return fmt.Errorf("%s is neither a file nor a block device", path)
	}
	// Seeking gives the size of a block device, too.
	if d.size, err = d.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if d.size == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	return nil
}

// Share locks the file against programs that lock it for writing, as OpenDisk does, until it is closed. ErrLocked: one
// of them has it locked.
func (d *File) Share() error {
	err := flock(d.file, unix.LOCK_SH)
	if err == unix.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

// Name is the path that the file was opened by.
func (d *File) Name() string { return d.file.Name() }

// Size is the size when the file was opened, in bytes.
func (d *File) Size() int64 { return d.size }

// ReadAt follows io.ReaderAt.
func (d *File) ReadAt(p []byte, offset int64) (int, error) { return d.file.ReadAt(p, offset) }

// Sync follows Syncer. A file system that is only read, as squashfs, may know no fsync(2) (EINVAL): nothing is newer
// there than what is durable.
func (d *File) Sync() error {
	err := d.file.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

// Slice follows Mapped.
func (d *File) Slice(offset int64, n int) []byte {
	if offset < 0 || n < 0 || offset > int64(len(d.mapped)) || int64(n) > int64(len(d.mapped))-offset {
		return nil
	}
	return d.mapped[offset : offset+int64(n) : offset+int64(n)]
}

// Advise follows Adviser.
func (d *File) Advise(offset, n int64) {
	_ = unix.Fadvise(int(d.file.Fd()), offset, n, unix.FADV_WILLNEED)
}

// Close unmaps and closes the file. No slice of it may be used afterwards.
func (d *File) Close() error {
	if d.mapped != nil {
		_ = unix.Munmap(d.mapped)
		d.mapped = nil
	}
	return d.file.Close()
}
