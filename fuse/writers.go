package fuse

import (
	"sync"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// writers counts the handles that are open for writing, by node: only such a file can have pages in the kernel's cache
// that were not written yet. A mapping keeps its handle. The zero value is ready.
type writers struct {
	mu   sync.Mutex // guards open
	open map[uint64]int
}

const forWriting = syscall.O_WRONLY | syscall.O_RDWR

// opened notes a handle, if opening it went well.
func (w *writers) opened(id uint64, flags uint32, status gofuse.Status) {
	if flags&forWriting == 0 || !status.Ok() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[uint64]int{}
	}
	w.open[id]++
}

func (w *writers) released(id uint64, flags uint32) {
	if flags&forWriting == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[id]--; w.open[id] <= 0 {
		delete(w.open, id)
	}
}

// any reports whether a node is open for writing.
func (w *writers) any(id uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[id] > 0
}

// grown are the files that got blocks by gathered writes. With the writeback cache the kernel goes on with the number
// of blocks that it knows (fs/fuse/file.c, fuse_writepage_end), so it is to ask again. That happens beside the request:
// the kernel may be waiting for its answer to free the inode.
type grown struct {
	mu      sync.Mutex // guards the rest
	of      map[uint64]bool
	busy    uint64 // is being notified
	running bool
}

// record adds a file, and has notify called for it soon.
func (g *grown) record(id uint64, notify func(id uint64)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[uint64]bool{}
	}
	g.of[id] = true
	if !g.running {
		g.running = true
		go g.run(notify)
	}
}

// take reports whether a file is still to be notified, which is then the caller's to do.
func (g *grown) take(id uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.of[id] || g.busy == id
	delete(g.of, id)
	return was
}

// run notifies files until there are none.
func (g *grown) run(notify func(id uint64)) {
	for {
		g.mu.Lock()
		var next uint64
		for next = range g.of {
			break
		}
		g.busy = next
		if len(g.of) == 0 {
			g.running = false
			g.mu.Unlock()
			return
		}
		delete(g.of, next)
		g.mu.Unlock()
		notify(next)
	}
}
