package ext4

import (
	"sync"

	"github.com/varvefs/varve/internal/block"
)

// windows are blocks that files which grow have reserved behind their end, in memory only, so that files that are written at a time do not take turns on the medium
// (kernel, fs/ext4/mballoc: inode preallocation). They count as free, and go back when blocks run out, when the file is closed, cut or freed, or for another
// file's window.
type windows struct {
	mu     sync.Mutex // guards the rest
	of     map[Ino]run
	blocks int64 // in all of them
}

const (
	maxWindows = 256
	maxWindow  = 8 << 20  // bytes
	minGrown   = 16 << 10 // bytes: a shorter file has no window
)

// take takes up to want blocks that follow goal from a file's window. A window that is elsewhere is given up: it is returned, to be released.
func (w *windows) take(ino Ino, goal block.Number, want uint32) (got, left run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.of[ino]
	if !ok {
		return run{}, run{}
	}
	if r.start != goal {
		w.drop(ino)
		return run{}, r
	}
	got = run{r.start, min(want, r.n)}
	w.blocks -= int64(got.n)
	if r.start, r.n = r.start+block.Number(got.n), r.n-got.n; r.n == 0 {
		delete(w.of, ino)
	} else {
		w.of[ino] = r
	}
	return got, run{}
}

// keep makes reserved blocks a file's window. What has to go for that is returned, to be released.
func (w *windows) keep(ino Ino, r run) (left []run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.of[ino]; ok {
		left = append(left, old)
		w.drop(ino)
	}
	if len(w.of) >= maxWindows {
		for other, old := range w.of { // any of them
			left = append(left, old)
			w.drop(other)
			break
		}
	}
	if w.of == nil {
		w.of = map[Ino]run{}
	}
	w.of[ino] = r
	w.blocks += int64(r.n)
	return left
}

// drop takes a window out. The caller holds mu.
func (w *windows) drop(ino Ino) {
	w.blocks -= int64(w.of[ino].n)
	delete(w.of, ino)
}

func (w *windows) size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocks
}

// Closed gives up what a file has reserved behind its end: one who wrote to it has closed it.
func (l *Live) Closed(node Node) { l.closeWindow(node.Ino()) }

func (l *Live) closeWindow(ino Ino) {
	l.windows.mu.Lock()
	r, ok := l.windows.of[ino]
	if ok {
		l.windows.drop(ino)
	}
	l.windows.mu.Unlock()
	l.release(r)
}

// closeWindows gives up what all files have reserved, and reports whether that was anything.
func (l *Live) closeWindows() bool {
	w := &l.windows
	w.mu.Lock()
	all := w.of
	w.of, w.blocks = nil, 0
	w.mu.Unlock()
	for _, r := range all {
		l.release(r)
	}
	return len(all) > 0
}

// reserveGrowing is reserve for a file that grows at its end, to size bytes: it reserves as much again behind.
func (l *Live) reserveGrowing(ino Ino, goal block.Number, want uint32, size uint64, owner Owner) (run, error) {
	got, left := l.windows.take(ino, goal, want)
	l.release(left)
	if got.n > 0 {
		return got, nil
	}
	more := uint32(min(size, maxWindow) / uint64(l.super.BlockSize))
	r, err := l.reserve(goal, want+more, owner)
	if err != nil || r.n <= want {
		return r, err
	}
	for _, left := range l.windows.keep(ino, run{r.start + block.Number(want), r.n - want}) {
		l.release(left)
	}
	return run{r.start, want}, nil
}
