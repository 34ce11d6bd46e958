package volume

import (
	"sync"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
)

// gate is the device of a mount until it is shut: then nothing more is written to it, as after a power cut. Writes
// under way when it is shut are done first, and a flush under way ends.
type gate struct {
	blockcache.Writable
	mu   sync.RWMutex // held for reading by each write and flush
	shut bool         // guarded by mu
}

// WriteAt follows io.WriterAt.
func (g *gate) WriteAt(p []byte, offset int64) (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.shut {
		return 0, ext4.ErrShutdown
	}
	return g.Writable.WriteAt(p, offset)
}

// Reserve follows blockcache.Reserver.
func (g *gate) Reserve(offset, n int64) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.shut {
		return ext4.ErrShutdown
	}
	return blockcache.Reserve(g.Writable, offset, n)
}

// Sync follows blockcache.Writable.
func (g *gate) Sync() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.shut {
		return ext4.ErrShutdown
	}
	return g.Writable.Sync()
}

// Discard follows blockcache.Discarder, if the device does.
func (g *gate) Discard(offset, n int64) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.shut {
		return ext4.ErrShutdown
	}
	return g.Writable.(blockcache.Discarder).Discard(offset, n)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// cut has nothing written any more by the time that it returns.
func (w *Writable) cut() {
	w.device.close()
	if w.apart != nil {
		w.apart.close()
	}
	w.protected.abandon()
}

// discard is how blocks of the file system may be discarded.
func (w *Writable) discard() ext4.Discard {
	k := blockcache.DiscarderOf(w.device.Writable)
	switch {
	case w.log == ext4.LogOverlay:
		return ext4.Discard{Why: "an overlay keeps what was written to it: commit it, and trim the image"}
	case k == nil:
		return ext4.Discard{Why: "the device below has no way to discard"}
	}
	return ext4.Discard{Do: w.device.Discard, Unit: k.DiscardUnit()}
}
