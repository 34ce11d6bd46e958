package files

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/blockcache"
)

// leafSize is the unit that media share, in bytes.
const leafSize = 4096

// leaf is a piece of a medium. It does not change once a second medium has it.
type leaf struct {
	data [leafSize]byte
	sum  atomic.Uint64 // of data; 0 until it is asked for
}

var (
	leafSeed = maphash.MakeSeed()
	zeros    = &leaf{}
)

// Medium is a blockcache.Writable in memory. A copy shares all that neither of the two writes afterwards: crash states
// differ from one another by a few blocks, and copying whole images would take most of the time.
type Medium struct {
	mu     sync.RWMutex
	size   int64   // guarded by mu
	leaves []*leaf // guarded by mu
	own    []bool  // guarded by mu: this medium alone has the leaf
}

// NewMedium makes a medium that begins with a copy of the given bytes.
func NewMedium(data []byte) *Medium {
	m := &Medium{}
	if len(data) > 0 {
		_, _ = m.WriteAt(data, 0) // does not fail
	}
	return m
}

// Clone copies the medium. No call may write at the same time.
func (m *Medium) Clone() *Medium {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.own)
	return &Medium{size: m.size, leaves: slices.Clone(m.leaves), own: make([]bool, len(m.own))}
}

// Size is the length in bytes.
func (m *Medium) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}

// ReadAt follows io.ReaderAt.
func (m *Medium) ReadAt(p []byte, offset int64) (n int, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if offset < 0 || offset >= m.size {
		return 0, io.EOF
	}
	if rest := m.size - offset; int64(len(p)) > rest {
		p, err = p[:rest], io.EOF
	}
	for n < len(p) {
		at := offset + int64(n)
		n += copy(p[n:], m.leaves[at/leafSize].data[at%leafSize:])
	}
	return n, err
}

// WriteAt follows io.WriterAt. The medium grows as needed.
func (m *Medium) WriteAt(p []byte, offset int64) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grow(offset + int64(len(p)))
	for n < len(p) {
		at := offset + int64(n)
		l := m.writable(int(at / leafSize))
		n += copy(l.data[at%leafSize:], p[n:])
	}
	return n, nil
}

// grow makes the medium so long, with zeros at its end. The caller holds mu.
func (m *Medium) grow(size int64) {
	m.size = max(m.size, size)
	for int64(len(m.leaves))*leafSize < m.size {
		m.leaves, m.own = append(m.leaves, zeros), append(m.own, false)
	}
}

// writable is a leaf that no other medium has. The caller holds mu.
func (m *Medium) writable(i int) *leaf {
	if !m.own[i] {
		m.leaves[i], m.own[i] = &leaf{data: m.leaves[i].data}, true
	}
	m.leaves[i].sum.Store(0)
	return m.leaves[i]
}

// Sync does nothing: memory has no medium.
func (m *Medium) Sync() error { return nil }

// Apply makes a write, or that of its sectors that keep says. The medium grows even if none is kept. keep may be nil.
func (m *Medium) Apply(e blockcache.Event, keep func(i int) bool) {
	m.mu.Lock()
	m.grow(e.Offset + int64(len(e.Data)))
	m.mu.Unlock()
	e.Pieces(func(i int, offset int64, data []byte) {
		if keep == nil || keep(i) {
			_, _ = m.WriteAt(data, offset) // does not fail
		}
	})
}

// Sum is a hash of the contents. It differs from one process to the next.
func (m *Medium) Sum() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	sums := make([]byte, 0, 8*len(m.leaves)+8)
	for _, l := range m.leaves {
		sum := l.sum.Load()
		if sum == 0 {
			sum = maphash.Bytes(leafSeed, l.data[:])
			l.sum.Store(sum)
		}
		sums = binary.LittleEndian.AppendUint64(sums, sum)
	}
	return maphash.Bytes(leafSeed, binary.LittleEndian.AppendUint64(sums, uint64(m.size)))
}

// writeFile writes the contents of a device to a file.
func writeFile(path string, d blockcache.Device) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.NewSectionReader(d, 0, d.Size()), make([]byte, 1<<20))
	return err
}
