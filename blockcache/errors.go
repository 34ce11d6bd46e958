package blockcache

import "errors"

// Errors of files and overlays. Other errors are those of the devices and of the operating system, wrapped.
var (
	// ErrLocked: another program has locked a file or block device for writing (flock(2)).
	ErrLocked = errors.New("another program writes to it")
	// ErrNoOverlay: the file is no overlay, or its header is damaged.
	ErrNoOverlay = errors.New("is no overlay of varve")
	// ErrOverlayDamaged: the map of an overlay is damaged.
	ErrOverlayDamaged = errors.New("the overlay is damaged")
	// ErrForeign: the overlay is of another image, or of another state of this one.
	ErrForeign = errors.New("the image is another one, or was changed since the overlay was made")
)
