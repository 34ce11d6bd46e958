package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"lukechampine.com/blake3"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
	"github.com/varvefs/varve/wal"
)

// overlayJournal is the size in bytes of the journal that an overlay has for itself, behind the image.
const overlayJournal = 16 << 20

// identify distinguishes an image from others, and from itself after it was written to, by what is in it: its size, its
// superblock (identity, counts of mounts and times of writing) and its journal's (sequence). A new name, place or time
// of the file changes nothing.
func identify(v *Volume) (id [64]byte, err error) {
	p := make([]byte, disk.SuperblockSize)
	if _, err := v.Device.ReadAt(p, disk.SuperblockOffset); err != nil {
		return id, err
	}
	p = fmt.Appendf(p, "%d", v.Device.Size())
	super, err := ext4.ReadSuperblock(v.Device, 0)
	if err != nil {
		return id, err
	}
	if super.Compat&disk.CompatHasJournal != 0 && super.JournalIno != 0 {
		fs, err := ext4.Open(v.Device, ext4.Options{NoRecovery: true})
		if err != nil {
			return id, err
		}
		places, _, err := fs.JournalPlaces()
		if err != nil {
			return id, err
		}
		j := make([]byte, super.BlockSize)
		if _, err := v.Device.ReadAt(j, super.BlockSize.Offset(places[0])); err != nil {
			return id, err
		}
		p = append(p, j...)
	}
	return blake3.Sum512(p), nil
}

// openOverlay opens an image and the overlay over it.
func openOverlay(s Spec, path string) (v *Volume, o *blockcache.Overlay, err error) {
	if s.Journal != "" || s.WAL != "" {
		return nil, nil, fmt.Errorf("%s: an overlay has a log of its own: "+
			"recover the image with its journal first, by varve mount --rw", s.Image)
	}
	if v, err = openPlain(s); err != nil {
		return nil, nil, err
	}
	id, err := identify(v)
	if err == nil {
		o, _, err = blockcache.OpenOverlay(path, v.Device, id, overlayJournal, s.Adopt)
	}
	if errors.Is(err, blockcache.ErrForeign) {
		err = fmt.Errorf(
			"%w; with overlay_adopt (varve commit and diff: --adopt) it goes over the image as it is now",
			err,
		)
	}
	if err != nil {
		v.Close()
		return nil, nil, err
	}
	return v, o, nil
}

// ErrCommitting says that an overlay is half way into its image.
var ErrCommitting = errors.New("its changes are being committed to the image: go on with varve commit")

// OpenOverlay opens an image with the changes in an overlay, for writing: the image itself is only read. The overlay
// file is made where there is none.
func OpenOverlay(s Spec, path string, o WriteOptions) (*Writable, error) {
	v, overlay, err := openOverlay(s, path)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Writable, error) {
		overlay.Close()
		v.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if overlay.State() != blockcache.OverlayOpen {
		return fail(ErrCommitting)
	}
	if err := v.Share(s); err != nil {
		return fail(err)
	}
	w, err := openOver(overlay, o)
	if err != nil {
		return fail(err)
	}
	w.files = append(w.files, overlay)
	w.files = append(w.files, v.files...)
	w.Partition = v.Partition
	return w, nil
}

// OpenOverlayOn is OpenOverlay for a base and an overlay file that are open.
func OpenOverlayOn(file blockcache.Writable, base blockcache.Device, o WriteOptions) (*Writable, error) {
	overlay, _, err := blockcache.OpenOverlayOn(file, base, [64]byte{}, overlayJournal)
	if err != nil {
		return nil, err
	}
	return openOver(overlay, o)
}

// openOver opens the file system on an overlay, with the journal behind it.
func openOver(overlay *blockcache.Overlay, o WriteOptions) (*Writable, error) {
	w := &Writable{device: &gate{Writable: overlay}, log: ext4.LogOverlay}
	super, err := ext4.ReadSuperblock(overlay, 0)
	if err != nil {
		return nil, err
	}
	size := super.BlockSize
	places := privatePlaces(overlay, size)
	p := make([]byte, size)
	if _, err := overlay.ReadAt(p, size.Offset(places[0])); err != nil {
		return nil, err
	}
	if _, made := jbd2.DecodeHeader(p); !made { // new, or cut off before anything was in it
		p = jbd2.NewSuperblock(
			size,
			uint32(len(places)),
			super.UUID,
			jbd2.IncompatRevoke|jbd2.IncompatCsumV3|jbd2.Incompat64Bit,
		)
		if _, err := overlay.WriteAt(p, size.Offset(places[0])); err != nil {
			return nil, err
		}
	}
	next, err := ext4.ReplayPrivate(overlay, size, places, super.Blocks, w.writeHome(size))
	if err != nil {
		return nil, err
	}
	if err := overlay.Sync(); err != nil {
		return nil, err
	}
	if w.journal, err = wal.OpenJournal(w.device, size, places, next); err == nil {
		err = w.inherit(super, w.journal)
	}
	if err == nil {
		err = w.journal.Reset(jbd2.IncompatRevoke)
	}
	if err != nil {
		return nil, err
	}
	base, err := openBase(overlay, beside{})
	if err == nil {
		err = ext4.CheckWritable(base.Superblock())
	}
	own := err == nil && base.NeedsRecovery()
	if err == nil && !own {
		own, err = base.JournalFailed()
	}
	if err == nil && own {
		// The image's own journal is replayed into the overlay, once, and what error it had goes to the superblock
		// there.
		if err = base.EachReplayed(w.writeHome(size)); err == nil {
			err = w.recoverImageFast(base, places)
		}
		if err == nil {
			err = w.emptyImageJournal(base)
		}
		if err == nil {
			base, err = openBase(overlay, beside{})
		}
	}
	if err != nil {
		return nil, err
	}
	o.JournalData = true // W6 holds for every byte
	if err := w.openFiles(base, o); err != nil {
		return nil, err
	}
	return w, nil
}

// privatePlaces are the blocks of the overlay's own journal.
func privatePlaces(o *blockcache.Overlay, size block.Size) []block.Number {
	first := block.Number((o.BaseSize() + int64(size) - 1) / int64(size))
	places := make([]block.Number, overlayJournal/int64(size))
	for i := range places {
		places[i] = first + block.Number(i)
	}
	return places
}

// recoverImageFast makes the changes of fast commits in the image's own journal by one epoch of the overlay's, at
// places. The same epoch makes the image's journal, in the overlay, one with nothing to recover.
func (w *Writable) recoverImageFast(base *ext4.FS, places []block.Number) error {
	size := base.Superblock().BlockSize
	own, next, err := base.JournalPlaces()
	fast := base.TakeFastCommits()
	if err != nil || fast == nil {
		return err
	}
	if err := w.device.Sync(); err != nil {
		return err
	}
	p := make([]byte, size)
	if _, err := w.device.ReadAt(p, size.Offset(own[0])); err != nil {
		return err
	}
	super, err := jbd2.DecodeSuperblock(p)
	if err != nil {
		return err
	}
	super.PutStart(p, 0, next+1)
	if err := w.recoverFast(fast, w.journal, &ext4.ReplacedBlock{Number: own[0], Data: p}); err != nil {
		return err
	}
	if w.journal, err = wal.OpenJournal(w.device, size, places, w.journal.Next()); err != nil {
		return err
	}
	return w.journal.Reset(jbd2.IncompatRevoke)
}

// emptyImageJournal says, in the overlay, that the image's own journal is recovered.
func (w *Writable) emptyImageJournal(base *ext4.FS) error {
	if err := w.device.Sync(); err != nil {
		return err
	}
	places, next, err := base.JournalPlaces()
	if err != nil {
		return err
	}
	j, err := wal.OpenJournal(w.device, base.Superblock().BlockSize, places, next)
	if err == nil {
		err = w.inherit(base.Superblock(), j)
	}
	if err == nil {
		err = j.Reset(0)
	}
	if err != nil {
		return err
	}
	super := base.Superblock()
	return w.editSuper(func(p []byte) {
		super.PutRecovery(p, false, true)
		super.SealSuperblock(p)
	})
}

// CommitOverlay copies the changes in an overlay to its image, and returns how many bytes that were. It may be cut off
// at any instant and called again: the overlay notes durably that it has begun, keeps every block until all are in
// the image, and flushed, and from then on nothing else may be done with it. progress, an error of which ends it, is
// called now and then. notice is called where it has to wait.
func CommitOverlay(
	s Spec,
	path string,
	progress func(done, all int64) error,
	notice func(string),
) (copied int64, err error) {
	if err := FindOverlay(path); err != nil {
		return 0, err
	}
	v, overlay, err := openOverlay(s, path)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	defer overlay.Close()
	super, err := ext4.ReadSuperblock(v.Device, 0)
	if err == nil {
		err = refuseLoop(s, false)
	}
	if err != nil {
		return 0, err
	}
	image, to, err := openDisk(s.Image, v)
	if err != nil {
		return 0, err
	}
	defer image.Close()
	at, shared, err := openMMPDevice(s.Image, v.Device)
	if err != nil {
		return 0, err
	}
	defer shared.Close()
	if overlay.State() == blockcache.OverlayOpen {
		// to take it would change it, before the overlay notes that it may be changed
		if _, _, err := inspect(at, super, s.Image, notice); err != nil {
			return 0, fmt.Errorf("%s: %w", s.Image, err)
		}
		if err := settleOverlay(overlay); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	protected, err := protect(at, super, s.Image, notice)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.Image, err)
	}
	defer func() { err = errors.Join(err, protected.release()) }()
	copied, err = copyHome(overlay, to, protected, progress)
	failpoint.At("commit", "blocks")
	if err == nil {
		err = to.Sync()
	}
	failpoint.At("commit", "flush")
	if err == nil {
		err = overlay.SetState(blockcache.OverlayCommitted)
	}
	failpoint.At("commit", "done")
	if err != nil {
		return copied, fmt.Errorf("%s: %w (the overlay still has everything: run varve commit again)", s.Image, err)
	}
	return copied, os.Remove(path)
}

// copyHome copies an overlay's blocks to its image. It ends when the image's protection is lost, or with progress's
// error.
func copyHome(
	overlay *blockcache.Overlay,
	to io.WriterAt,
	protected *protection,
	progress func(done, all int64) error,
) (copied int64, err error) {
	var lost atomic.Pointer[error]
	protected.keep(func(err error) { lost.Store(&err) })
	all := overlay.Bytes()
	err = overlay.EachBlock(func(offset int64, p []byte) error {
		copied += int64(len(p))
		if progress != nil {
			if err := progress(copied, all); err != nil {
				return err
			}
		}
		if p := lost.Load(); p != nil {
			return *p
		}
		_, err := to.WriteAt(p, offset)
		failpoint.At("commit", "block")
		return err
	})
	return copied, err
}

// settleOverlay brings everything home, within the overlay, and notes that from now on it goes into the image.
func settleOverlay(overlay *blockcache.Overlay) error {
	w, err := openOver(overlay, WriteOptions{})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	failpoint.At("commit", "settled")
	err = overlay.SetState(blockcache.OverlayCommitting)
	failpoint.At("commit", "noted")
	return err
}

// DiscardOverlay removes an overlay that is not in use, and that is not half way into its image.
func DiscardOverlay(path string) error {
	d, state, err := openState(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if state == blockcache.OverlayCommitting {
		return fmt.Errorf("%s: %w", path, ErrCommitting)
	}
	return os.Remove(path)
}

// FindOverlay is an error where a file is no overlay: a mount would make one of a file that is missing or empty.
func FindOverlay(path string) error {
	d, _, err := openState(path)
	if err != nil {
		return err
	}
	return d.Close()
}

// openState opens an overlay's file, and reads what may be done with it.
func openState(path string) (*blockcache.Disk, blockcache.OverlayState, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, 0, err
	}
	d, err := blockcache.OpenDisk(path)
	if err != nil {
		return nil, 0, err
	}
	state, err := blockcache.ReadOverlayState(io.NewSectionReader(d, 0, d.Size()))
	if err != nil {
		d.Close()
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return d, state, nil
}
