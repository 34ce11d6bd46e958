package engine

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Map is a map in memory with a mutex a block, which copies the block for each change: what a simple program would do
// without any promise about crashes.
func Map() Maker {
	return Maker{Name: "map, a mutex a block", Form: "memory", Open: func(string, bool) (Engine, error) {
		m := &mapEngine{blocks: map[int]*mapBlock{}}
		for i := range Blocks {
			m.blocks[i] = &mapBlock{data: make([]byte, BlockSize)}
		}
		return m, nil
	}, Skip: func(l Load) bool { return l.Durable }}
}

type mapEngine struct {
	mu     sync.RWMutex
	blocks map[int]*mapBlock
}

type mapBlock struct {
	mu   sync.Mutex
	data []byte
}

// Update follows Engine.
func (m *mapEngine) Update(_ int, n, slot int, change func([]byte)) (int, error) {
	m.mu.RLock()
	b := m.blocks[n]
	m.mu.RUnlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	next := make([]byte, BlockSize)
	copy(next, b.data)
	change(next[slot*Slot:][:Slot])
	b.data = next
	return 0, nil
}

// View follows Engine: block by block, without a snapshot.
func (m *mapEngine) View() error {
	sum := byte(0)
	for i := range Blocks {
		m.mu.RLock()
		b := m.blocks[i]
		m.mu.RUnlock()
		b.mu.Lock()
		sum += b.data[0]
		b.mu.Unlock()
	}
	_ = sum
	return nil
}

// Close follows Engine.
func (m *mapEngine) Close() (int64, error) { return 0, nil }

// Limit is what fdatasync into a prewritten log allows: a record of 128 bytes a commit, and group commit at its
// simplest. It stores nothing else and promises nothing.
func Limit() Maker {
	return Maker{Name: "fdatasync, group commit alone", Form: "limit", Open: openLimit,
		Skip: func(l Load) bool { return !l.Durable }}
}

// limit is a log of records without contents: writers wait on ended for the flush under way, and one of them runs the
// next.
type limit struct {
	file     *os.File
	mu       sync.Mutex
	ended    *sync.Cond
	pending  int    // bytes of commits that are handed in and not written
	off      int64  // where the next write begins
	written  uint64 // commits handed in
	durable  uint64
	flushing bool
	buf      []byte
}

const limitSize = 16 << 20 // bytes of the log, which is written from its beginning again

func openLimit(dir string, _ bool) (Engine, error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, limitSize)); err != nil {
		return nil, err
	}
	l := &limit{file: f, buf: make([]byte, 1<<16)}
	l.ended = sync.NewCond(&l.mu)
	return l, f.Sync()
}

// Update follows Engine.
func (l *limit) Update(int, int, int, func([]byte)) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written++
	l.pending += 128
	mine := l.written
	for l.durable < mine {
		if l.flushing {
			l.ended.Wait()
			continue
		}
		if err := l.flush(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// flush writes the pending bytes, and makes them durable. The caller holds mu, which is not held meanwhile.
func (l *limit) flush() error {
	n, to := min(l.pending, len(l.buf)), l.written
	l.pending, l.flushing = 0, true
	if l.off+int64(n) > limitSize {
		l.off = 0
	}
	off := l.off
	l.off += int64(n)
	l.mu.Unlock()
	_, err := l.file.WriteAt(l.buf[:n], off)
	if err == nil {
		err = unix.Fdatasync(int(l.file.Fd()))
	}
	l.mu.Lock()
	l.flushing = false
	if err == nil {
		l.durable = to // else those who wait flush themselves, and get their own error
	}
	l.ended.Broadcast()
	return err
}

// View follows Engine.
func (l *limit) View() error { return nil }

// Close follows Engine.
func (l *limit) Close() (int64, error) { return 0, l.file.Close() }
