package blockcache

import (
	"io"
	"slices"
	"sync"
)

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
