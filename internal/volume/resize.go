package volume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/mvcc"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// NewSize is the size that a file system is to have: so many units of bytes, or of blocks where Unit is 0. The zero
// value stands for all of the device.
type NewSize struct {
	Count uint64
	Unit  uint64
}

// Resized is what Resize did.
type Resized struct {
	BlockSize     block.Size
	Before, After block.Number // blocks
}

// Resize makes the file system that a Spec names larger, which nothing else may have open. The image is extended where
// it is a file of its own. After a crash at any instant the file system is whole, and has the old size, the new one, or
// one between.
func Resize(ctx context.Context, s Spec, to NewSize, o WriteOptions) (r Resized, err error) {
	v, err := openPlain(s)
	if err != nil {
		return r, err
	}
	defer v.Close() // needed only to locate the file system
	if err := refuseLoop(s, false); err != nil {
		return r, err
	}
	d, device, err := openDisk(s.Image, v)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	at, shared, err := openMMPDevice(s.Image, v.Device)
	if err != nil {
		return r, err
	}
	defer shared.Close()
	b, err := openBeside(s, v.Device)
	if err != nil {
		return r, err
	}
	defer b.Close()
	g := growing{device: device, at: at, name: s.Image, beside: b, opts: o}
	if device == blockcache.Writable(d) {
		g.extend = d.Extend
	}
	if r, err = g.run(ctx, to); err != nil {
		err = fmt.Errorf("%s: %w", s.Image, err)
	}
	return r, err
}

// ResizeOn makes the file system on a device larger.
func ResizeOn(ctx context.Context, device blockcache.Writable, to NewSize, o WriteOptions) (Resized, error) {
	g := growing{device: device, at: device, name: "a device", opts: o}
	return g.run(ctx, to)
}

// growing is a file system that is made larger.
type growing struct {
	device blockcache.Writable
	at     mmpDevice
	name   string
	beside beside
	opts   WriteOptions
	extend func(size int64) error // makes the device larger; nil where it has its size
	target block.Number
}

func (g *growing) run(ctx context.Context, to NewSize) (r Resized, err error) {
	w, err := openOn(g.device, g.at, g.name, g.beside, g.opts) // recovers it, and finishes orphans
	if err != nil {
		return r, err
	}
	if err := w.Close(); err != nil {
		return r, err
	}
	base, err := openBase(g.device, g.beside)
	if err != nil {
		return r, err
	}
	s := base.Superblock()
	r = Resized{s.BlockSize, s.Blocks, s.Blocks}
	blocks, err := to.blocks(s.BlockSize, g.device.Size())
	if err != nil {
		return r, err
	}
	if g.target, err = base.PlanResize(blocks); err != nil || g.target == s.Blocks {
		return r, err
	}
	if size := s.BlockSize.Offset(g.target); size > g.device.Size() {
		if g.extend == nil {
			return r, fmt.Errorf("the device has %d bytes, less than %d: make it larger first", g.device.Size(), size)
		}
		if err := g.extend(size); err != nil {
			return r, fmt.Errorf("extend the image to %d bytes: %w", size, err)
		}
	}
	var grower *ext4.Resizer
	open := func(w *Writable, base *ext4.FS, o WriteOptions) (err error) {
		grower, err = w.openResizer(base, g.target, o)
		return err
	}
	w, err = openFor(g.device, g.at, g.name, g.beside, g.opts, open)
	if err != nil {
		return r, err
	}
	err = w.grow(ctx, grower)
	r.After = grower.Superblock().Blocks
	return r, errors.Join(err, w.closeResized())
}

// blocks is the size in blocks of a file system, on a device of so many bytes.
func (n NewSize) blocks(size block.Size, device int64) (uint64, error) {
	switch {
	case n == NewSize{}:
		return uint64(device) / uint64(size), nil
	case n.Unit == 0:
		return n.Count, nil
	case n.Count > 1<<62/n.Unit:
		return 0, fmt.Errorf("%w: %d times %d bytes", ext4.ErrInvalid, n.Count, n.Unit)
	}
	return n.Count * n.Unit / uint64(size), nil
}

// openResizer opens the store of a file system, without the files, and marks it as in use.
func (w *Writable) openResizer(base *ext4.FS, target block.Number, o WriteOptions) (*ext4.Resizer, error) {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	s := base.Superblock()
	w.marks = ext4.Marks{Super: s, Log: w.log, Now: now}
	if w.journal != nil && target>>32 != 0 {
		if err := w.journal.Reset(jbd2.Incompat64Bit); err != nil {
			return nil, err
		}
	}
	if err := w.editSuper(func(p []byte) { w.markMounted(p, now()) }); err != nil {
		return nil, err
	}
	// A superblock with the new size must find all descriptors, for e2fsck, too, which reads them before it recovers.
	super := block.Number(disk.SuperblockOffset / uint32(s.BlockSize))
	err := w.openStore(s, o.Memory, o, func(e *mvcc.ClosingEpoch) error {
		e.Late(super)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ext4.NewResizer(base, store{w.Store, o.Between}, w.device, target, now)
}

// grow makes the steps. Each goes home at once: the kernel reads the size of a file system before it recovers the
// journal, so a journal had better not have another one for long.
func (w *Writable) grow(ctx context.Context, r *ext4.Resizer) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := r.Step(ctx)
		if err != nil {
			return err
		}
		if err := w.Store.Sync(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		failpoint.At("resize", "step")
		if err := w.Store.Checkpoint(); err != nil {
			return err
		}
		if done {
			return nil
		}
	}
}

// closeResized marks the file system clean, as Close does.
func (w *Writable) closeResized() error {
	err := w.Store.Err()
	if cerr := w.Store.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.clean()
	}
	return errors.Join(err, w.protected.release())
}
