package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/metrics"
	"github.com/varvefs/varve/internal/volume"
)

// serveWritable serves a read-write mount. The image is marked clean, and released, after the last request.
func (s *session) serveWritable(ctx context.Context) (err error) {
	if s.Write.Notice == nil {
		s.Write.Notice = func(text string) { s.logger.Print(text) }
	}
	// Memory bounds live data. The collector may let as much again become garbage; requests and the program itself have
	// a share of their own.
	debug.SetMemoryLimit(2*cmp.Or(s.Write.Memory, volume.DefaultMemory) + 64<<20)
	figures, finish, err := s.observe()
	if err != nil {
		return err
	}
	defer finish()
	w, err := s.open()
	if err != nil {
		return &MountError{volume.Advise(err)}
	}
	if figures != nil {
		figures.Watch(w.Store)
	}
	if s.ledger != nil {
		s.nameRecords(w.Writable)
	}
	if err := w.View((*ext4.FS).CheckRoot); err != nil {
		return &MountError{errors.Join(volume.Advise(fmt.Errorf("%s: %w", s.Spec.Image, err)), w.Close())}
	}
	var mount *fuse.Mount
	defer func() {
		if mount != nil {
			mount.Finish()
		}
	}()
	defer func() {
		gone := w.Named()
		cerr := w.Close()
		if cerr != nil {
			cerr = fmt.Errorf("%s is left to recovery: %w", s.Spec.Image, cerr)
			s.logger.Print(cerr)
		}
		if cerr = errors.Join(cerr, gone); err == nil && cerr != nil {
			err = &MountError{cerr}
		}
	}()
	defer s.watchNames(w)()
	if err := ctx.Err(); err != nil {
		return err
	}
	if mount, err = fuse.NewWritable(w.Writable, s.dir, s.Fuse); err != nil {
		return &MountError{err}
	}
	if stop, err := s.serveControl(mount, w); err != nil {
		s.logger.Printf("%v: varve stats will not work", err)
	} else {
		defer stop()
	}
	super := w.Superblock()
	s.serveUntilGone(ctx, mount,
		&Mounted{Type: super.Kind(), Label: super.Label, ReplayedBlocks: w.Replayed, Orphans: w.Orphans})
	return nil
}

// namesEvery is how often a mount looks whether its files are still there.
const namesEvery = 5 * time.Second

// watchNames warns once when a file of a mount was deleted: the mount goes on, but nothing of it will be left.
func (s *session) watchNames(w *volume.Writable) (stop func()) {
	end := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		t := time.NewTicker(namesEvery)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-t.C:
				if err := w.Named(); err != nil {
					s.logger.Print(err)
					return
				}
			}
		}
	})
	return func() {
		close(end)
		ended.Wait()
	}
}

// serveControl answers varve stats, quota and watch for a mount.
func (s *session) serveControl(mount *fuse.Mount, w *volume.Writable) (stop func(), err error) {
	dev, err := mount.Device()
	if err != nil {
		return nil, err
	}
	return serveControl(dev, func(request string) any {
		switch request {
		case requestQuotas:
			return quotasOf(w)
		case requestWatch:
			return stream(func(ctx context.Context, c net.Conn) { watch(ctx, c, s.bus, s.Fuse.Source, w.Writable) })
		}
		return s.statsOf(w)
	})
}

// observe begins metrics and ledger, where they are configured.
func (s *session) observe() (figures *metrics.Server, finish func(), err error) {
	s.bus = new(evidence.Bus)
	s.Write.Observer, s.Fuse.Observer = s.bus, tapOperations{s.bus}
	finish = func() {
		if figures != nil {
			figures.Close()
		}
		if s.ledger != nil {
			_ = s.ledger.Close()
		}
	}
	if s.Ledger != "" {
		if err := s.Spec.Spare(s.Ledger); err != nil {
			return nil, nil, err
		}
		if s.ledger, err = evidence.Append(s.Ledger, s.LedgerLimits); err != nil {
			return nil, nil, err
		}
		s.bus.Attach(s.ledger)
	}
	if s.Metrics != "" {
		if figures, err = metrics.Serve(context.Background(), s.Metrics); err != nil {
			finish()
			return nil, nil, err
		}
	}
	return figures, finish, nil
}

// nameRecords has the ledger's records get paths and the names of blocks.
func (s *session) nameRecords(w *ext4.Writable) {
	names := newNames(w)
	one := make([]evidence.Record, 1)
	s.ledger.SetNamer(func(r *evidence.Record) {
		_ = w.View(func(fs *ext4.FS) error { // without names where it fails
			one[0] = *r
			names.name(fs, one)
			*r = one[0]
			return nil
		})
	})
}

// open opens the image in place, or an overlay over it.
func (s *session) open() (*volume.Writable, error) {
	if s.Overlay != "" {
		return volume.OpenOverlay(s.Spec, s.Overlay, s.Write)
	}
	return volume.OpenWritable(s.Spec, s.Write)
}
