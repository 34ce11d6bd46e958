package blockcache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Disk is a regular file or a block device, opened for reading and writing and locked against other programs that lock
// it (flock(2)). Writing past the end of a regular file extends it. Sync fails with io.ErrUnexpectedEOF when another
// program has cut such a file shorter: what was written there is lost.
type Disk struct {
	file    *os.File
	regular bool
	named   bool       // it had a name when it was opened
	mu      sync.Mutex // guards size
	size    int64

	flusher flusher
}

// OpenDisk opens an existing file or block device for writing. A block device is claimed (O_EXCL): one that is
// mounted, or part of another, is refused, and so is its mounting afterwards.
func OpenDisk(path string) (*Disk, error) {
	flags := os.O_RDWR | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	if info, err := os.Stat(path); err == nil && info.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice {
		flags |= syscall.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("%w: it is mounted, or another program has claimed it", err)
	}
	if err != nil {
		return nil, err
	}
	return newDisk(f, path)
}

// CreateDisk opens a regular file for writing, makes it where there is none, and makes its name durable. A shorter one
// is extended to size bytes by a hole. A new one is its owner's alone: it gets contents of files that others may not
// read.
func CreateDisk(path string, size int64) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() < size {
		if err := f.Truncate(size); err != nil {
			f.Close()
			return nil, err
		}
	}
	d, err := newDisk(f, path)
	if err != nil {
		return nil, err
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func newDisk(f *os.File, path string) (*Disk, error) {
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use: a mount, another process or another store has it locked; "+
			"unmount it or end that first: %w", path, err)
	}
	d := &Disk{file: f, named: hasName(f)}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		err = fmt.Errorf("%s is neither a file nor a block device", path)
	}
	if err == nil {
		d.regular = info.Mode().IsRegular()
		d.size, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// Name is the path that the device was opened by.
func (d *Disk) Name() string { return d.file.Name() }

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Size is the length in bytes.
func (d *Disk) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// ReadAt follows io.ReaderAt.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) { return d.file.ReadAt(p, offset) }

// WriteAt follows io.WriterAt.
func (d *Disk) WriteAt(p []byte, offset int64) (int, error) {
	if traced {
		defer d.traceWrite(p, offset)()
	}
	n, err := d.file.WriteAt(p, offset)
	d.mu.Lock()
	d.size = max(d.size, offset+int64(n))
	d.mu.Unlock()
	return n, err
}

// Sync is fdatasync(2).
func (d *Disk) Sync() error { return d.flusher.do(d.datasync) }

func (d *Disk) datasync() error {
	ended := func() {}
	if traced {
		ended = d.traceFlush()
	}
	for {
		err := unix.Fdatasync(int(d.file.Fd()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		ended()
		return d.whole()
	}
}

// whole reports whether a regular file is as long as it was, or has become by writes. A later write past the end of one
// that was cut shorter hides the loss of what is between only if it reaches the old end.
func (d *Disk) whole() error {
	if !d.regular {
		return nil
	}
	want := d.Size()
	size, err := sizeOf(d.file)
	if err == nil && size < want {
		err = fmt.Errorf("%s was cut short at byte %d of %d: %w; what was written behind that is lost",
			d.Name(), size, want, io.ErrUnexpectedEOF)
	}
	return err
}

// sizeOf asks for the size alone. fstat(2) asks for the times, too, and since Linux 6.13 the next write must then
// change the inode (multigrain timestamps): an fdatasync between two writes costs half as much again.
func sizeOf(f *os.File) (int64, error) {
	var s unix.Statx_t
	for {
		err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, &s)
		if err != unix.EINTR {
			return int64(s.Size), err
		}
	}
}

// Reserve follows Reserver: the holes of a regular file get blocks. File systems that have no such call promise
// nothing.
func (d *Disk) Reserve(offset, n int64) error {
	if !d.regular {
		return nil
	}
	for {
		err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EOPNOTSUPP || err == unix.ENOSYS:
			return nil
		}
		return err
	}
}

// Close closes the file, which also unlocks it. It makes nothing durable.
func (d *Disk) Close() error { return d.file.Close() }

// Extend makes a regular file so many bytes long, by a hole at its end, and the length durable. A file that is longer
// keeps its length; a block device has its own.
func (d *Disk) Extend(size int64) error {
	if size <= d.Size() {
		return nil
	}
	if !d.regular {
		return fmt.Errorf("%s is a device of %d bytes", d.Name(), d.Size())
	}
	if err := d.file.Truncate(size); err != nil {
		return err
	}
	d.mu.Lock()
	d.size = size
	d.mu.Unlock()
	return d.file.Sync()
}
