package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/mvcc"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/wal"
)

// DefaultMemory bounds versions and clean blocks of a read-write mount, in bytes.
const DefaultMemory = 64 << 20

// bitmapShare is the share of the memory that bitmaps of groups may take: an eighth.
const bitmapShare = 8

// unloggedShare is the share of the memory that an epoch may have where there is no journal to bound it.
const unloggedShare = 16

// WriteOptions say how a file system is written.
type WriteOptions struct {
	JournalData bool
	NoAtime     bool
	StrictAtime bool
	Sync        bool
	DirSync     bool
	OnDamage    ext4.OnDamage
	Quotas      ext4.QuotaOptions
	Commit      time.Duration // an epoch ends at least so often: 5 s where 0
	Memory      int64         // bytes: DefaultMemory where 0
	Policy      mvcc.Policy
	Observer    mvcc.Observer // of the store's events; may be nil
	Between     func()        // called between each operation and its commit, for tests of what operations depend on
	Notice      func(string)  // called where opening takes long, with the reason; may be nil
	// the time and the next inode's generation, for images that are to be equal; the clock and random numbers where nil
	Now        func() time.Time
	Generation func() uint32
}

// Writable is a file system that is open for writing, and what lies below it.
type Writable struct {
	*ext4.Writable
	Store     *mvcc.Store
	Replayed  int // blocks that recovery wrote home
	Orphans   int // inodes that recovery finished
	Partition *blockcache.Partition

	device    *gate
	journal   *wal.Journal // nil where there is none
	apart     *gate        // the device with the journal; nil where the image has it
	log       ext4.Log
	marks     ext4.Marks
	open      opening
	logID     disk.LogID // of the log beside the image, and this mount
	protected *protection
	beside    beside
	files     []io.Closer
}

// ErrNoJournal says that file data cannot go through a journal that is not there.
var ErrNoJournal = errors.New(
	"data=journal: the file system has no journal: give it one with tune2fs -j, or mount without that option",
)

// OpenWritable opens the file system that a Spec names for writing, recovers it first, and locks the image. Close it
// after use.
func OpenWritable(s Spec, o WriteOptions) (*Writable, error) {
	v, err := openPlain(s)
	if err != nil {
		return nil, err
	}
	defer v.Close() // needed only to locate the file system
	if err := refuseLoop(s, false); err != nil {
		return nil, err
	}
	d, device, err := openDisk(s.Image, v)
	if err != nil {
		return nil, err
	}
	at, shared, err := openMMPDevice(s.Image, v.Device)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	beside, err := openBeside(s, v.Device)
	var w *Writable
	if err == nil {
		w, err = openOn(device, at, s.Image, beside, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.Image, err), beside.Close(), shared.Close(), d.Close())
	}
	w.files = append(w.files, beside, shared, d)
	w.Partition = v.Partition
	return w, nil
}

// openPlain opens the device of a Spec that asks for nothing special, and has a superblock.
func openPlain(s Spec) (*Volume, error) {
	if s.Superblock != 0 || s.NoRecovery {
		return nil, fmt.Errorf("%s: a backup superblock and norecovery are for read-only mounts", s.Image)
	}
	v, _, err := OpenSuperblock(s)
	return v, err
}

// openDisk opens and locks an image for writing, and gives the same window of it that a Volume has.
func openDisk(path string, like *Volume) (*blockcache.Disk, blockcache.Writable, error) {
	d, err := blockcache.OpenDisk(path)
	if err != nil {
		return nil, nil, err
	}
	if w, ok := like.Device.(*blockcache.Window); ok {
		return d, blockcache.NewWritableWindow(d, w), nil
	}
	return d, d, nil
}

// OpenOn opens the file system on a device for writing.
func OpenOn(device blockcache.Writable, o WriteOptions) (*Writable, error) {
	return openOn(device, device, "a device", beside{}, o)
}

// OpenBeside opens the file system on a device for writing, with its external journal on another one, or, where it has
// no journal, the log beside it.
func OpenBeside(device, other blockcache.Writable, o WriteOptions) (*Writable, error) {
	super, err := ext4.ReadSuperblock(device, 0)
	if err != nil {
		return nil, err
	}
	b := beside{log: other}
	if super.Compat&disk.CompatHasJournal != 0 {
		b = beside{journal: other}
	}
	return openOn(device, device, "a device", b, o)
}

func openOn(device blockcache.Writable, at mmpDevice, name string, b beside, o WriteOptions) (*Writable, error) {
	return openFor(device, at, name, b, o, (*Writable).openFiles)
}

// opening opens the store of a recovered file system, and what is above it.
type opening func(w *Writable, base *ext4.FS, o WriteOptions) error

func openFor(
	device blockcache.Writable, at mmpDevice, name string, b beside, o WriteOptions, open opening,
) (*Writable, error) {
	base, err := openBase(device, b)
	if err != nil {
		return nil, err
	}
	super := base.Superblock()
	if err := ext4.CheckWritable(super); err != nil {
		return nil, err
	}
	if err := b.checkPlace(super, o); err != nil {
		return nil, err
	}
	if super.BlockSize.Offset(super.Blocks) > device.Size() {
		return nil, fmt.Errorf(
			"the image is cut short: %d bytes of %d",
			device.Size(),
			super.BlockSize.Offset(super.Blocks),
		)
	}
	w := &Writable{device: &gate{Writable: device}, open: open}
	if w.protected, err = protect(at, super, name, o.Notice); err != nil {
		return nil, err
	}
	var opened atomic.Pointer[mvcc.Store]
	var lost atomic.Pointer[error]
	w.protected.keep(func(err error) {
		lost.Store(&err)
		if s := opened.Load(); s != nil {
			s.Fail(err)
		}
	})
	if w.protected != nil { // another mount may have written to it until a moment ago
		base, err = openBase(device, b)
	}
	if err == nil {
		err = w.openInPlace(base, b, o)
	}
	if err != nil {
		return nil, errors.Join(err, w.protected.release())
	}
	opened.Store(w.Store)
	if p := lost.Load(); p != nil { // while recovery was under way
		w.Store.Fail(*p)
	}
	return w, nil
}

// openInPlace recovers a file system and opens it over its own journal, or without any.
func (w *Writable) openInPlace(base *ext4.FS, b beside, o WriteOptions) (err error) {
	if err := base.CheckTables(); err != nil {
		return err
	}
	w.beside = b
	if b.device() != nil {
		w.apart = &gate{Writable: b.device()}
	}
	if b.log != nil {
		return w.openLogged(base, b, o)
	}
	if super := base.Superblock(); super.Compat&disk.CompatHasJournal == 0 {
		w.log = ext4.LogNone
		if o.Notice != nil {
			o.Notice(warning(super))
		}
		return w.open(w, base, o)
	}
	if w.journal, err = w.recover(base); err != nil {
		return err
	}
	if base, err = openBase(w.device, b); err != nil {
		return err
	}
	return w.open(w, base, o)
}

// warning says what a mount without a journal means (kernel, fs/ext4: ext4_setup_super warns of an unclean one, and
// mounts it).
func warning(super *disk.Superblock) string {
	switch {
	case super.State&disk.StateClean == 0:
		return "the file system has no journal, and was not unmounted cleanly: unmount, and run e2fsck -f"
	case super.State&disk.StateErrors != 0:
		return "the file system has no journal, and has errors: unmount, and run e2fsck -f"
	}
	return "the file system has no journal: after a crash it needs e2fsck"
}

func openBase(device blockcache.Writable, b beside) (*ext4.FS, error) {
	return ext4.Open(device, ext4.Options{Journal: b.readJournal(), Log: b.readLog(),
		Blocks: func(image io.ReaderAt, size block.Size) ext4.Blocks {
			return blockcache.NewCache(image, nil, size, DefaultCache/4)
		}})
}

// openFiles marks the file system as mounted, opens store and file system, and finishes what a crash has left.
func (w *Writable) openFiles(base *ext4.FS, o WriteOptions) error {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	super := base.Superblock()
	bitmaps := min(o.Memory/bitmapShare, 2*int64(super.BlockSize)*int64(super.Groups()))
	var live *ext4.Writable
	err := w.openStore(super, o.Memory-bitmaps, o, func(e *mvcc.ClosingEpoch) error { return live.Seal(epoch{e}) })
	if err != nil {
		return err
	}
	s := w.Store
	live, err = ext4.OpenWritable(
		base,
		store{s, o.Between},
		w.device,
		ext4.WriteOptions{JournalData: o.JournalData, NoAtime: o.NoAtime,
			StrictAtime: o.StrictAtime, Sync: o.Sync, DirSync: o.DirSync, OnDamage: o.OnDamage, Bitmaps: bitmaps,
			Quotas: o.Quotas, Log: w.log, Discard: w.discard(), Cut: w.cut, Now: o.Now, Generation: o.Generation},
	)
	if err == nil {
		w.Writable, w.marks = live, live.Marks()
		if !mutant.Off(mutant.J3) {
			now := time.Now
			if o.Now != nil {
				now = o.Now
			}
			err = w.editSuper(func(p []byte) { w.markMounted(p, now()) })
		}
	}
	failpoint.At("recovery", "mounted")
	if err == nil {
		w.Orphans, err = live.FinishOrphans()
	}
	failpoint.At("recovery", "orphans")
	if err != nil {
		s.Abandon()
	}
	return err
}

// openStore opens a store over the journal, or straight to the device.
func (w *Writable) openStore(
	super *disk.Superblock, memory int64, o WriteOptions, seal func(*mvcc.ClosingEpoch) error,
) (err error) {
	var log wal.EpochLog = w.journal
	if w.journal == nil {
		log = wal.NewUnlogged(w.device, super.BlockSize, int(o.Memory/unloggedShare/int64(super.BlockSize)))
	}
	w.Store, _, err = mvcc.Open(
		mvcc.Options{
			BlockSize: super.BlockSize,
			Home:      w.device,
			Memory:    memory,
			Policy:    o.Policy,
			Observer:  o.Observer,
			PushBack:  -1,
			Durability: mvcc.EpochJournal{
				Journal: log,
				Apart:   w.apart != nil,
				Every:   o.Commit,
				Seal:    seal,
			},
		},
	)
	return err
}

// editSuper changes the superblock in place, beside the journal, and flushes: before the first epoch, or after the
// last.
func (w *Writable) editSuper(edit func([]byte)) error {
	p := make([]byte, disk.SuperblockSize)
	if _, err := w.device.ReadAt(p, disk.SuperblockOffset); err != nil {
		return fmt.Errorf("read the superblock: %w", err)
	}
	edit(p)
	if _, err := w.device.WriteAt(p, disk.SuperblockOffset); err != nil {
		return fmt.Errorf("write the superblock: %w", err)
	}
	if err := w.device.Sync(); err != nil {
		return fmt.Errorf("flush the superblock: %w", err)
	}
	return nil
}

// Close frees what was open without a name, makes everything durable and home, and marks the file system clean (J7).
// After an error the image is left to recovery, and so it is, without an error, where the file system was shut down on
// request.
func (w *Writable) Close() error {
	if w.ShutDown() && !mutant.Off(mutant.ShutdownCut) {
		return w.Abandon()
	}
	err := w.Store.Err()
	if err == nil {
		err = w.EvictAll()
	}
	if err == nil {
		err = w.MarkDamage()
	}
	if err == nil && mutant.Off(mutant.J7) {
		_ = w.Store.Sync(context.Background())
		_ = w.clean()
	}
	failpoint.At("close", "evicted")
	if cerr := w.Store.Close(); err == nil {
		err = cerr
	}
	failpoint.At("close", "homes")
	if err == nil {
		err = w.clean()
	}
	return errors.Join(err, w.protected.release(), w.closeFiles())
}

// clean says on the device that there is nothing to recover.
func (w *Writable) clean() error {
	if w.journal != nil {
		if err := w.journal.End(); err != nil {
			return err
		}
	}
	failpoint.At("close", "journal")
	return w.editSuper(func(p []byte) {
		if w.log == ext4.LogBeside {
			disk.ClearLogMark(p)
		}
		w.marks.ClearRecovery(p)
	})
}

// markMounted changes the bytes of a superblock to those of a file system that is mounted, and marks what it needs.
func (w *Writable) markMounted(p []byte, now time.Time) {
	w.marks.MarkMounted(p, now)
	if w.log == ext4.LogBeside && !mutant.Off(mutant.LogMark) {
		disk.PutLogMark(p, w.logID)
		w.marks.Super.SealSuperblock(p)
	}
}

// Abandon ends as a crash would: nothing more is written.
func (w *Writable) Abandon() error {
	w.Store.Abandon()
	w.protected.abandon()
	return w.closeFiles()
}

// Named gives an error where a file that is written to, or an overlay's image, was deleted or replaced since it was
// opened (blockcache.ErrDeleted): everything goes on, and is lost in the end. It is called before Close.
func (w *Writable) Named() error {
	var errs []error
	for _, f := range w.files {
		if f, ok := f.(interface{ Named() error }); ok {
			errs = append(errs, f.Named())
		}
	}
	return errors.Join(errs...)
}

func (w *Writable) closeFiles() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	w.files = nil
	return errors.Join(errs...)
}
