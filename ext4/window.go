package ext4

import (
	"sync"
	"sync/atomic"
)

// windows are clusters that files which grow have reserved behind their end, in memory only, so that files that are
// written at a time do not take turns on the medium (kernel, fs/ext4/mballoc: inode preallocation). They count as free,
// and go back when blocks run out, when the file is closed, cut or freed, or for another file's window.
type windows struct {
	blocks atomic.Int64 // in all of them

	mu sync.Mutex // guards of
	of map[Ino]run
}

const (
	maxWindows = 256
	maxWindow  = 8 << 20  // bytes
	minGrown   = 16 << 10 // bytes: a shorter file has no window
)

// take takes up to want clusters that follow goal from a file's window. A window that is elsewhere is given up: it is
// returned, to be released.
func (w *windows) take(ino Ino, goal cluster, want uint32) (got, left run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.remove(ino)
	if r.start != goal {
		return run{}, r
	}
	got = run{r.start, min(want, r.n)}
	w.put(ino, run{r.start + cluster(got.n), r.n - got.n})
	return got, run{}
}

// keep makes reserved clusters a file's window. Windows that have to go for that are returned, to be
// released.
func (w *windows) keep(ino Ino, r run) (left []run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left = append(left, w.remove(ino))
	if len(w.of) >= maxWindows {
		for other := range w.of { // any of them
			left = append(left, w.remove(other))
			break
		}
	}
	w.put(ino, r)
	return left
}

// put notes a window, if there is anything in it. The caller holds mu.
func (w *windows) put(ino Ino, r run) {
	if r.n == 0 {
		return
	}
	if w.of == nil {
		w.of = map[Ino]run{}
	}
	w.of[ino] = r
	w.blocks.Add(int64(r.n))
}

// remove takes a file's window out, if it has one. The caller holds mu.
func (w *windows) remove(ino Ino) run {
	r := w.of[ino]
	delete(w.of, ino)
	w.blocks.Add(-int64(r.n))
	return r
}

// Closed gives up what is reserved behind a file's end, when one of its writers has closed it.
func (w *Writable) Closed(node Node) { w.alloc.closeWindow(node.Ino()) }

func (a *allocator) closeWindow(ino Ino) {
	a.windows.mu.Lock()
	r := a.windows.remove(ino)
	a.windows.mu.Unlock()
	a.release(r)
}

// closeWindows gives up what all files have reserved, and reports whether that was anything.
func (a *allocator) closeWindows() bool {
	v := &a.windows
	v.mu.Lock()
	var all []run
	for ino := range v.of {
		all = append(all, v.remove(ino))
	}
	v.mu.Unlock()
	for _, r := range all {
		a.release(r)
	}
	return len(all) > 0
}

// reserveGrowing is reserve for a file that grows at its end, to size bytes: it reserves as much again behind.
func (a *allocator) reserveGrowing(ino Ino, goal cluster, want uint32, size uint64, cred Cred) (run, error) {
	got, left := a.windows.take(ino, goal, want)
	a.release(left)
	if got.n > 0 {
		return got, nil
	}
	more := uint32(min(size, maxWindow) / a.super.ClusterSize())
	r, err := a.reserve(goal, want, more, claim{cred, false})
	if err != nil || r.n <= want {
		return r, err
	}
	for _, left := range a.windows.keep(ino, run{r.start + cluster(want), r.n - want}) {
		a.release(left)
	}
	return run{r.start, want}, nil
}
