package fuse

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
)

// errnos is the one table that turns errors into errnos; the first that fits counts. Errors that are not in it
// are EIO.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{ext4.ErrNoKey, syscall.ENOKEY},
	{ext4.ErrVerity, syscall.EIO},
	{ondisk.ErrCorrupt, syscall.EUCLEAN},
	{ondisk.ErrUnsupported, syscall.EOPNOTSUPP},
	{ext4.ErrNoXattr, syscall.ENODATA},
	{ext4.ErrNotDir, syscall.ENOTDIR},
	{ext4.ErrNoData, syscall.ENXIO},
	{ext4.ErrShutdown, syscall.EIO},
	{ext4.ErrFailed, syscall.EROFS},
	{ext4.ErrNoSpace, syscall.ENOSPC},
	{ext4.ErrQuota, syscall.EDQUOT},
	{ext4.ErrExists, syscall.EEXIST},
	{ext4.ErrNotExist, syscall.ENOENT},
	{ext4.ErrNotEmpty, syscall.ENOTEMPTY},
	{ext4.ErrIsDir, syscall.EISDIR},
	{ext4.ErrNotPermit, syscall.EPERM},
	{ext4.ErrAccess, syscall.EACCES},
	{ext4.ErrInvalid, syscall.EINVAL},
	{ext4.ErrTooLong, syscall.ENAMETOOLONG},
	{ext4.ErrManyLinks, syscall.EMLINK},
	{ext4.ErrTooBig, syscall.EFBIG},
	{ext4.ErrCross, syscall.EXDEV},
	{ext4.ErrStale, syscall.ESTALE},
	{ext4.ErrXattrName, syscall.ERANGE},
	{ext4.ErrLoop, syscall.ELOOP},
	{context.Canceled, syscall.EINTR}, // the thread that asked is dying
	{syscall.EFAULT, syscall.EFAULT},
	{io.ErrUnexpectedEOF, syscall.EIO}, // the image is shorter than it says
}

func errnoOf(err error) syscall.Errno {
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	return syscall.EIO
}

// status maps an error, and reports damage and failures of the device in the log: an errno says neither what nor where.
func (f reporter) status(op string, err error) gofuse.Status {
	if err == nil {
		return gofuse.OK
	}
	errno := errnoOf(err)
	if f.damaged != nil && errors.Is(err, ondisk.ErrCorrupt) {
		go f.damaged(op, err) // a transaction of its own: the request may hold a snapshot
	}
	if errno == syscall.EUCLEAN || errno == syscall.EIO || errno == syscall.EROFS {
		f.report(op, err)
	}
	return gofuse.Status(errno)
}

// report logs at most one line a second, so that a damaged image cannot flood the log.
func (f reporter) report(op string, err error) {
	if errors.Is(err, ext4.ErrShutdown) {
		return // it was asked for
	}
	now := time.Now().Unix()
	if last := f.last.Load(); last != now && f.last.CompareAndSwap(last, now) {
		f.log.Printf("%s: %v", op, err)
	}
}
