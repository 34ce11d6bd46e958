package volume

import (
	"errors"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
)

// slow is a device whose writes and flushes wait until the test continues them.
type slow struct {
	blockcache.Writable
	began, goOn chan struct{}
}

func (s slow) WriteAt(p []byte, offset int64) (int, error) {
	s.began <- struct{}{}
	<-s.goOn
	return s.Writable.WriteAt(p, offset)
}

func (s slow) Sync() error {
	s.began <- struct{}{}
	<-s.goOn
	return s.Writable.Sync()
}

// TestGate_UnderWay: a cut returns only when what was under way has ended, and nothing follows.
func TestGate_UnderWay(t *testing.T) {
	for name, do := range map[string]func(d blockcache.Writable) error{
		"write": func(d blockcache.Writable) error { _, err := d.WriteAt([]byte("under way"), 0); return err },
		"flush": func(d blockcache.Writable) error { return d.Sync() },
	} {
		t.Run(name, func(t *testing.T) {
			s := slow{blockcache.NewRAM(make([]byte, 4096)), make(chan struct{}), make(chan struct{})}
			w := &Writable{device: &gate{Writable: s}}
			result, cut := make(chan error, 1), make(chan struct{})
			go func() { result <- do(w.device) }()
			<-s.began
			go func() { w.cut(); close(cut) }()
			select {
			case <-cut:
				t.Error("the cut did not wait")
			case <-time.After(20 * time.Millisecond):
			}
			close(s.goOn)
			<-cut
			if err := <-result; err != nil {
				t.Errorf("what was under way: %v", err)
			}
			if _, err := w.device.WriteAt([]byte("later"), 0); !errors.Is(err, ext4.ErrShutdown) {
				t.Errorf("a later write: %v", err)
			}
			if err := w.device.Sync(); !errors.Is(err, ext4.ErrShutdown) {
				t.Errorf("a later flush: %v", err)
			}
		})
	}
}
