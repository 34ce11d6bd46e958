package main

import (
	"context"
	"errors"
	"strings"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/metrics"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
)

// Exit codes. They are documented in docs/cli.md and never change their meaning. The first five and the last are those
// of mount(8).
const (
	exitOK          = 0
	exitUsage       = 1  // the command line is wrong
	exitSystem      = 2  // the operating system refused: no such image, no permission, input or output failed
	exitInternal    = 4  // a bug in varve
	exitInterrupted = 8  // SIGINT, SIGTERM or SIGHUP
	exitNotFound    = 10 // the path is not in the image
	exitDamaged     = 11 // the image is damaged; what could be read was
	exitUnsupported = 12 // the image uses a feature that varve does not have, or is none of ext2, ext3 and ext4
	exitNoKey       = 13 // the contents are encrypted
	exitLost        = 14 // varve stress found a lost update, half a commit, or a result that no isolation allows
	exitMount       = 32 // mounting or unmounting failed
)

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errPrinted marks an error whose message is printed already.
var errPrinted = errors.New("the message is printed")

// codedError is an error with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var mount *daemon.MountError
	var coded codedError
	var failure *daemon.Failure
	var address *metrics.AddressError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &failure):
		return failure.Code
	case errors.Is(err, daemon.ErrNoReport):
		return exitInternal
	case errors.As(err, &usage), errors.As(err, &address), errors.Is(err, volume.ErrTwoPlaces),
		strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.As(err, &mount):
		return exitMount
	case errors.Is(err, errLost):
		return exitLost
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, ondisk.ErrUnsupported):
		return exitUnsupported
	case errors.Is(err, ondisk.ErrCorrupt), errors.Is(err, ext4.ErrVerity):
		return exitDamaged
	case errors.Is(err, ext4.ErrNoKey):
		return exitNoKey
	case errors.Is(err, ext4.ErrNotExist), errors.Is(err, ext4.ErrNotDir), errors.Is(err, ext4.ErrLoop),
		errors.Is(err, ext4.ErrTooLong):
		return exitNotFound
	}
	return exitSystem
}
