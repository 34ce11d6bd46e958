package ext4

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/internal/mutant"
)

// Shutdown says how a mounted file system is shut down (FS_IOC_SHUTDOWN; kernel, fs/ext4/ioctl.c), with the ioctl's
// numbers.
type Shutdown uint32

// The ways. From the call on changes, contents, opening files and attributes' values are refused (ErrShutdown), as the
// kernel's ext4 does; names and attributes of inodes are answered.
const (
	ShutdownSync Shutdown = iota // everything that was done is durable
	ShutdownLog                  // what is under way is refused, and everything that was done is durable
	ShutdownCut                  // as a power cut: what was not durable is lost
)

// shutdown is whether that has happened.
type shutdown struct {
	mu   sync.Mutex
	shut atomic.Bool // set under mu
}

// ShutDown reports whether the file system was shut down.
func (w *Writable) ShutDown() bool { return w.shutdown.shut.Load() }

// Shutdown shuts the file system down: nothing is written to the image from its return on, and the next mount recovers.
// A second call does nothing. If making everything durable fails, the file system is shut down all the same, and the
// error returned.
func (w *Writable) Shutdown(how Shutdown) (err error) {
	s := &w.shutdown
	s.mu.Lock()
	defer s.mu.Unlock()
	if how > ShutdownCut {
		return fmt.Errorf("%w: shut down by flags %d, expected 0 to 2", ErrInvalid, how)
	}
	if s.shut.Load() {
		return nil
	}
	if how == ShutdownSync {
		err = w.store.Sync(context.Background())
	}
	s.shut.Store(true)
	if how == ShutdownLog && !mutant.Off(mutant.ShutdownLog) {
		err = w.store.Sync(context.Background())
	}
	if mutant.Off(mutant.ShutdownCut) {
		return err
	}
	if w.opts.Cut != nil {
		w.opts.Cut()
	}
	w.store.Fail(ErrShutdown)
	return err
}

// refused is the error of a change where the file system was shut down.
func (w *Writable) refused() error {
	if w.ShutDown() {
		return fmt.Errorf("%w: %w", ErrFailed, ErrShutdown)
	}
	return nil
}
