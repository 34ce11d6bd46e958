package blockcache

import (
	"fmt"
	"io"
)

// Window is a byte range of another device, such as a partition.
type Window struct {
	device         Device
	offset, length int64
}

// NewWindow makes a window of length bytes at offset. A range that does not lie on the device is an error.
func NewWindow(d Device, offset, length int64) (*Window, error) {
	if offset < 0 || length < 0 || offset > d.Size() || length > d.Size()-offset {
		return nil, fmt.Errorf("bytes %d to %d are not within the image of %d bytes", offset, offset+length, d.Size())
	}
	return &Window{d, offset, length}, nil
}

// Offset is where the window begins on its device, in bytes.
func (w *Window) Offset() int64 { return w.offset }

// Name is the path of the device below, or "a window" where that has none.
func (w *Window) Name() string {
	if named, ok := w.device.(interface{ Name() string }); ok {
		return named.Name()
	}
	return "a window"
}

// Size is the window's length in bytes.
func (w *Window) Size() int64 { return w.length }

// ReadAt follows io.ReaderAt; offset counts from the window's start.
func (w *Window) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= w.length {
		return 0, io.EOF
	}
	short := int64(len(p)) > w.length-offset
	if short {
		p = p[:w.length-offset]
	}
	n, err := w.device.ReadAt(p, w.offset+offset)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Slice follows Mapped, if the device below does.
func (w *Window) Slice(offset int64, n int) []byte {
	m, ok := w.device.(Mapped)
	if !ok || offset < 0 || int64(n) > w.length-offset {
		return nil
	}
	return m.Slice(w.offset+offset, n)
}

// Advise follows Adviser, if the device below does.
func (w *Window) Advise(offset, n int64) {
	if a, ok := w.device.(Adviser); ok && offset >= 0 && offset < w.length {
		a.Advise(w.offset+offset, min(n, w.length-offset))
	}
}

// writableWindow is a byte range of a Writable.
type writableWindow struct {
	*Window
	below Writable
}

// NewWritableWindow makes a window for writing: of d, with the place and the length of like, a window for reading.
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

// Sync follows Syncer, where the device below does.
func (w *Window) Sync() error {
	if s, ok := w.device.(Syncer); ok {
		return s.Sync()
	}
	return nil
}
