package blockcache

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Shared is a file or block device that other hosts may write to meanwhile. It is opened beside the Disk that is
// locked, and has an error state of its own: what fails to be written here takes no error away from Disk.Sync.
type Shared struct{ file *os.File }

// OpenShared opens a file or block device without locking it.
func OpenShared(path string) (*Shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Shared{f}, nil
}

// ReadAt follows io.ReaderAt. It reads from the medium, not from this host's cache.
func (s *Shared) ReadAt(p []byte, offset int64) (int, error) {
	page := int64(os.Getpagesize())
	first := offset / page * page
	if err := unix.Fadvise(int(s.file.Fd()), first, offset+int64(len(p))-first+page, unix.FADV_DONTNEED); err != nil {
		return 0, fmt.Errorf("drop cached pages: %w", err)
	}
	return s.file.ReadAt(p, offset)
}

// WriteAt follows io.WriterAt. The bytes have been handed to the medium when it returns; its own cache is not flushed.
func (s *Shared) WriteAt(p []byte, offset int64) (int, error) {
	n, err := s.file.WriteAt(p, offset)
	if err == nil {
		const through = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		err = unix.SyncFileRange(int(s.file.Fd()), offset, int64(len(p)), through)
	}
	return n, err
}

// Close closes the file.
func (s *Shared) Close() error { return s.file.Close() }
