package blockcache

import (
	"sync"
	"testing"
)

// gate is a device whose next Sync, or write, waits until it is let through.
type gate struct {
	Writable
	mu      sync.Mutex
	sync    *pass // guarded by mu: of the next Sync
	write   *pass // guarded by mu: of the next write
	syncErr error // guarded by mu: of every Sync
}

type pass struct{ entered, leave chan struct{} }

func newPass() *pass { return &pass{make(chan struct{}), make(chan struct{})} }

func (p *pass) through() {
	if p != nil {
		close(p.entered)
		<-p.leave
	}
}

func (g *gate) holdSync() *pass {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sync = newPass()
	return g.sync
}

func (g *gate) holdWrite() *pass {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.write = newPass()
	return g.write
}

func (g *gate) Sync() error {
	g.mu.Lock()
	p, err := g.sync, g.syncErr
	g.sync = nil
	g.mu.Unlock()
	p.through()
	if err != nil {
		return err
	}
	return g.Writable.Sync()
}

func (g *gate) WriteAt(b []byte, off int64) (int, error) {
	g.mu.Lock()
	p := g.write
	g.write = nil
	g.mu.Unlock()
	p.through()
	return g.Writable.WriteAt(b, off)
}

// durable is what is on the medium of one device after a trace if everything that no flush covers is lost.
func durable(tr *Trace) (img []byte) {
	var open []Event
	for _, e := range tr.Events() {
		if !e.Flush() {
			open = append(open, e)
			continue
		}
		var rest []Event
		for _, o := range open {
			if e.Covers(o) {
				img = o.Apply(img, nil)
			} else {
				rest = append(rest, o)
			}
		}
		open = rest
	}
	return img
}

// TestRecording_WriteMeetsFlush: a flush covers the writes that returned before it began, and no others.
func TestRecording_WriteMeetsFlush(t *testing.T) {
	tr, g := &Trace{}, &gate{Writable: NewRAM(nil)}
	d := Record(g, tr, 0)
	var wg sync.WaitGroup
	write := func(s string, at int64) { _, _ = d.WriteAt([]byte(s), at) }
	write("a", 0)
	early := g.holdWrite()
	wg.Go(func() { write("b", 1) }) // begins before the flush, returns after it
	<-early.entered
	flush := g.holdSync()
	wg.Go(func() { _ = d.Sync() })
	<-flush.entered
	write("c", 2) // begins and returns while the flush runs
	close(flush.leave)
	for len(tr.Events()) < 4 {
		// the flush is recorded
	}
	close(early.leave)
	wg.Wait()
	if got := string(durable(tr)); got != "a" {
		t.Errorf("after a flush that covers a only, %q is durable", got)
	}
	if err := d.Sync(); err != nil || string(durable(tr)) != "abc" {
		t.Errorf("after a second flush %q is durable, %v", durable(tr), err)
	}
}
