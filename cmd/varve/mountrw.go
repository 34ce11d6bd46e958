package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/varvefs/varve/fuse"
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
	w, err := openLive(o)
	if err != nil {
		return mountError{advise(err)}
	}
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
	mount, err := fuse.NewLive(w.Live, dir, o.fuse)
	if err != nil {
		return mountError{err}
	}
	super := w.Superblock()
	attend(mount, dir, logger, ready, &mounted{SchemaVersion: schemaVersion, Image: o.fuse.Source, Dir: dir, Type: super.Kind(), Label: super.Label,
		Options: o.effective(), ReplayedBlocks: w.Replayed, Orphans: w.Orphans, Live: true, Pid: os.Getpid()})
	return nil
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
