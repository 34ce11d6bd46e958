package blockcache

import (
	"fmt"
	"io"
)

// Device is the source of blocks. ReadAt may be called concurrently.
type Device interface {
	io.ReaderAt
	// Size is the device's length in bytes.
	Size() int64
}

// Mapped is a Device whose bytes lie in memory.
type Mapped interface {
	Device
	// Slice returns the n bytes at offset without copying them, or nil where they are not all mapped. The bytes may
	// only be handed to system calls: where the file behind them was cut short, or its medium fails, touching them
	// from Go ends the process, while a system call returns EFAULT.
	Slice(offset int64, n int) []byte
}

// Memory is a device in memory, for tests and small images. Slice and ReadAt see later changes of the bytes.
type Memory []byte

// Size is the number of bytes.
func (m Memory) Size() int64 { return int64(len(m)) }

// ReadAt follows io.ReaderAt.
func (m Memory) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

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

// Name is the path of the device below, if it has one.
func (w *Window) Name() string {
	if named, ok := w.device.(interface{ Name() string }); ok {
		return named.Name()
	}
	return "of the device below"
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

// Adviser is a Device that takes advice on coming reads.
type Adviser interface {
	// Advise starts to read n bytes at offset into the operating system's cache, and does not wait for them.
	Advise(offset, n int64)
}
