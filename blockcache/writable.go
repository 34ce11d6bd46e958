package blockcache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Writable is a Device that can be changed. Calls may be concurrent; writes that overlap are ordered by their caller.
type Writable interface {
	Device
	io.WriterAt
	// Sync makes every write that returned before the call durable. After an error it is unknown what is durable: Disk
	// and Overlay give the same error to each later call.
	Sync() error
}

// Disk is a regular file or a block device, opened for reading and writing and locked against other users that lock it
// (flock(2)). Writing past the end of a regular file extends it. Sync fails when somebody else has cut such a file
// shorter: what was written there is lost.
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
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf(
			"%s is in use: a mount, another process or another store has it locked; unmount it or end that first: %w",
			path,
			err,
		)
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

// lock takes a file's lock. Its last holder may still be about to end, or a process that it started may not
// have closed it yet.
func lock(f *os.File) (err error) {
	for range 20 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

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

// Reserver is a device that can get room for bytes before they are written.
type Reserver interface {
	// Reserve has a later write of so many bytes at offset find room, where the device can promise that. It changes
	// neither contents nor sizes.
	Reserve(offset, n int64) error
}

// Reserve asks a device to reserve, if it can.
func Reserve(d Device, offset, n int64) error {
	if r, ok := d.(Reserver); ok {
		return r.Reserve(offset, n)
	}
	return nil
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

// RAM is a Writable in memory that grows as it is written, for tests.
type RAM struct {
	mu   sync.RWMutex
	data []byte // guarded by mu
}

// NewRAM makes a device that begins with the given bytes, which it keeps.
func NewRAM(data []byte) *RAM { return &RAM{data: data} }

// Size is the length in bytes.
func (r *RAM) Size() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return int64(len(r.data))
}

// ReadAt follows io.ReaderAt.
func (r *RAM) ReadAt(p []byte, offset int64) (int, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Memory(r.data).ReadAt(p, offset)
}

// WriteAt follows io.WriterAt.
func (r *RAM) WriteAt(p []byte, offset int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if end := offset + int64(len(p)); end > int64(len(r.data)) {
		r.data = append(r.data, make([]byte, end-int64(len(r.data)))...)
	}
	return copy(r.data[offset:], p), nil
}

// Sync does nothing: memory has no medium.
func (r *RAM) Sync() error { return nil }

// Bytes is a copy of the contents.
func (r *RAM) Bytes() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.data)
}

// writableWindow is a byte range of a Writable.
type writableWindow struct {
	*Window
	below Writable
}

// NewWritableWindow makes the window of a device that another window is of the same device, opened for reading.
func NewWritableWindow(d Writable, like *Window) Writable {
	return writableWindow{&Window{d, like.offset, like.length}, d}
}

// WriteAt follows io.WriterAt; offset counts from the window's start.
func (w writableWindow) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || int64(len(p)) > w.length || offset > w.length-int64(len(p)) {
		return 0, fmt.Errorf("bytes %d to %d are not within the window of %d", offset, offset+int64(len(p)), w.length)
	}
	return w.below.WriteAt(p, w.offset+offset)
}

// Sync follows Writable.
func (w writableWindow) Sync() error { return w.below.Sync() }

// Reserve follows Reserver.
func (w writableWindow) Reserve(offset, n int64) error { return Reserve(w.below, w.offset+offset, n) }
