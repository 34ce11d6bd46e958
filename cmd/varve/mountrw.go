package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/volume"
)

// serveLive is serve for a read-write mount. The image is marked clean, and released, after the last request.
func (m *mountCommand) serveLive(o mountOptions, dir string, logger *log.Logger, ready func(*mounted) error) (err error) {
	if o.write.Commit == 0 {
		o.write.Commit = 5 * time.Second
	}
	if o.write.Memory == 0 {
		o.write.Memory = volume.DefaultMemory
	}
	if o.write.Notice == nil {
		o.write.Notice = func(text string) { logger.Print(text) }
	}
	// The bound is of what is live. The collector may let as much again become garbage, and no more; requests and the program itself have a share of their own.
	debug.SetMemoryLimit(2*o.write.Memory + 64<<20)
	seen, finish, err := m.observe(&o)
	if err != nil {
		return err
	}
	defer finish()
	w, err := openLive(o)
	if err != nil {
		return mountError{advise(err)}
	}
	if seen != nil {
		seen.watch(w.Store)
	}
	if err := w.View((*ext4.FS).CheckRoot); err != nil {
		return mountError{errors.Join(advise(fmt.Errorf("%s: %w", o.spec.Image, err)), w.Close())}
	}
	var mount *fuse.Mount
	defer func() {
		if mount != nil {
			mount.Finish()
		}
	}()
	defer func() {
		if cerr := w.Close(); cerr != nil {
			cerr = fmt.Errorf("%s is left to recovery: %w", o.spec.Image, cerr)
			logger.Print(cerr)
			if err == nil {
				err = mountError{cerr}
			}
		}
	}()
	o.fuse.Logger = logger
	if mount, err = fuse.NewWritable(w.Writable, dir, o.fuse); err != nil {
		return mountError{err}
	}
	if stop, err := serveControl(mount, func() mountStats { return statsOf(w, &o) }); err != nil {
		logger.Printf("%v: varve stats will not work", err)
	} else {
		defer stop()
	}
	super := w.Superblock()
	attend(mount, dir, logger, ready, &mounted{SchemaVersion: schemaVersion, Image: o.fuse.Source, Dir: dir, Type: super.Kind(), Label: super.Label,
		Options: o.effective(), ReplayedBlocks: w.Replayed, Orphans: w.Orphans, Live: true, Pid: os.Getpid()})
	return nil
}

// observe begins what watches the mount: metrics and ledger.
func (m *mountCommand) observe(o *mountOptions) (seen *metrics, finish func(), err error) {
	var ledger *evidence.Ledger
	var file *os.File
	if m.ledger != "" {
		if file, err = os.OpenFile(m.ledger, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return nil, nil, err
		}
		ledger = evidence.NewLedger(file, 20_000)
		o.write.Events = ledger.Tell
	}
	if m.metrics != "" {
		if seen, err = serveMetrics(context.Background(), m.metrics); err != nil {
			return nil, nil, err
		}
	}
	return seen, func() {
		if seen != nil {
			seen.close()
		}
		if ledger != nil {
			_ = ledger.Close()
			_ = file.Close()
		}
	}, nil
}

// openLive opens the image in place, or an overlay over it.
func openLive(o mountOptions) (*volume.Writable, error) {
	if o.overlay != "" {
		return volume.OpenOverlay(o.spec, o.overlay, o.write)
	}
	w, err := volume.OpenWritable(o.spec, o.write)
	if errors.Is(err, volume.ErrNoJournal) {
		err = fmt.Errorf("%w, or keep the changes beside the image with --overlay FILE", err)
	}
	return w, err
}
