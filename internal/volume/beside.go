package volume

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
	"github.com/varvefs/varve/wal"
)

// beside is what an image has its journal on, where that is another device: an external journal, which its superblock
// names, or a log beside an image without a journal. At most one of them is there.
//
// A log beside an image is a file in the format of an external journal. It is bound to one mount: its UUID is new for
// each, and the image's superblock is marked with it from then until the image is clean again.
//
//	made, or found empty ─▶ UUID new, flushed ─▶ image marked, not clean, flushed ─▶ commits
//	after a crash: marked, and the same UUID ─▶ home ─▶ log empty ─▶ image unmarked and clean ─▶ as above
type beside struct {
	journal, log blockcache.Writable
	close        func() error
}

// Errors of logs beside images.
var (
	ErrOwnJournal = errors.New("the file system has a journal of its own: wal= is for those without")
	ErrNotClean   = errors.New("the file system was not unmounted cleanly, and no log has the rest: run e2fsck -f first")
	ErrForeignLog = ext4.ErrForeignLog
	ErrNeedsLog   = ext4.ErrNeedsLog
)

func (b beside) device() blockcache.Writable {
	if b.log != nil {
		return b.log
	}
	return b.journal
}

// readJournal and readLog are the devices for ext4.Options: nil interfaces where there are none.
func (b beside) readJournal() io.ReaderAt {
	if b.journal == nil {
		return nil
	}
	return b.journal
}

func (b beside) readLog() io.ReaderAt {
	if b.log == nil {
		return nil
	}
	return b.log
}

// Close closes what openBeside opened.
func (b beside) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

// Named gives an error where an external journal was deleted. A log beside an image may go: it is empty once the image
// is clean.
func (b beside) Named() error {
	if f, ok := b.journal.(interface{ Named() error }); ok {
		return f.Named()
	}
	return nil
}

// checkPlace checks that a file system has its journal where the caller says.
func (b beside) checkPlace(super *disk.Superblock, o WriteOptions) error {
	own := super.Compat&disk.CompatHasJournal != 0
	switch {
	case own && b.log != nil:
		return ErrOwnJournal
	case b.journal != nil && (!own || super.JournalIno != 0):
		return errors.New("the file system has no external journal: mount it without journal_path")
	case !own && b.log == nil && o.JournalData:
		return ErrNoJournal
	case b.log != nil && !super.NeedsLog && super.State&disk.StateClean == 0:
		return ErrNotClean
	}
	return nil
}

// openBeside opens and locks the external journal, or the log beside an image, that a Spec names. A log that
// is not there is made.
func openBeside(s Spec, image blockcache.Device) (beside, error) {
	if s.Journal == "" && s.WAL == "" {
		return beside{}, nil
	}
	if s.Journal != "" && s.WAL != "" {
		return beside{}, errors.New("an external journal and a log beside the image: one or the other")
	}
	if s.Journal != "" {
		d, err := blockcache.OpenDisk(s.Journal)
		if err != nil {
			return beside{}, fmt.Errorf("journal device: %w", err)
		}
		return beside{journal: d, close: d.Close}, nil
	}
	if err := (Spec{Image: s.Image}).Spare(s.WAL); err != nil {
		return beside{}, err
	}
	super, err := ext4.ReadSuperblock(image, 0)
	if err != nil {
		return beside{}, err
	}
	if _, err := os.Stat(s.WAL); errors.Is(err, os.ErrNotExist) {
		if super.NeedsLog {
			return beside{}, fmt.Errorf("%w, and %s is not there", ErrNeedsLog, s.WAL)
		}
		if err := (beside{log: blockcache.NewRAM(nil)}).checkPlace(super, WriteOptions{}); err != nil {
			return beside{}, err
		}
		if err := makeLog(s.WAL, super); err != nil {
			return beside{}, fmt.Errorf("make %s: %w", s.WAL, err)
		}
	}
	d, err := blockcache.OpenDisk(s.WAL)
	if err != nil {
		return beside{}, err
	}
	return beside{log: d, close: d.Close}, nil
}

// openLogForReading opens a log beside an image. It need not be there: what needs it says so.
func openLogForReading(path string) (*blockcache.File, error) {
	log, err := blockcache.OpenFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return log, err
}

// The size of a log that is made: bytes, or blocks where that is more.
const (
	logBytes  = 16 << 20
	logBlocks = 1024
)

// NewLog is the contents of an empty log of so many blocks for a file system.
func NewLog(super *disk.Superblock, blocks uint32) []byte {
	size := super.BlockSize
	p := make([]byte, size.Offset(block.Number(blocks)))
	var id disk.LogID
	_, _ = rand.Read(id[:])
	copy(p[disk.SuperblockOffset:], disk.NewJournalDevice(size, blocks, id))
	at := disk.JournalDeviceStart(size)
	features := uint32(jbd2.IncompatRevoke | jbd2.IncompatCsumV3 | jbd2.Incompat64Bit)
	copy(p[size.Offset(at):], jbd2.NewExternalSuperblock(size, blocks, uint32(at), id, super.UUID, features))
	return p
}

// makeLog makes the file of a log, whole or not at all. Its blocks are written, so that a commit needs no room.
func makeLog(path string, super *disk.Superblock) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(NewLog(super, max(logBytes/uint32(super.BlockSize), logBlocks)))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // fails if another process made it first
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openLogged recovers a file system by the log beside it, and opens it over that log.
func (w *Writable) openLogged(base *ext4.FS, b beside, o WriteOptions) (err error) {
	w.log = ext4.LogBeside
	if base.NeedsRecovery() {
		if w.journal, err = w.recover(base); err != nil {
			return err
		}
		err = w.editSuper(func(p []byte) {
			disk.ClearLogMark(p)
			disk.PutClean(p, true)
			base.Superblock().SealSuperblock(p)
		})
		failpoint.At("recovery", "unmarked")
	} else {
		w.journal, err = w.emptyLog(base.Superblock())
	}
	if err == nil {
		err = w.renewLog()
	}
	if err == nil {
		base, err = openBase(w.device, b)
	}
	if err != nil {
		return err
	}
	return w.open(w, base, o)
}

// emptyLog opens the log of a clean file system. A log with contents belongs to another file system, or has changes
// that e2fsck gave up.
func (w *Writable) emptyLog(super *disk.Superblock) (*wal.Journal, error) {
	dev, err := ext4.ReadSuperblock(w.apart, 0)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if !dev.IsJournalDevice() || dev.BlockSize != super.BlockSize || w.apart.Size() < dev.BlockSize.Offset(dev.Blocks) {
		return nil, fmt.Errorf("%w: it is none of a file system with blocks of %d bytes, or is cut short",
			ErrForeignLog, super.BlockSize)
	}
	at := disk.JournalDeviceStart(dev.BlockSize)
	p := make([]byte, dev.BlockSize)
	if _, err := w.apart.ReadAt(p, dev.BlockSize.Offset(at)); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	j, err := jbd2.DecodeSuperblock(p)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	switch {
	case !slices.Contains(j.Users, super.UUID):
		return nil, fmt.Errorf("%w: it belongs to a file system with another UUID", ErrForeignLog)
	case j.Start != 0:
		return nil, fmt.Errorf("%w: it holds changes that a crash left, and this image is clean: "+
			"remove the log if they are not needed", ErrForeignLog)
	case block.Number(j.Blocks) > dev.Blocks || block.Number(j.First) <= at:
		return nil, fmt.Errorf("log: blocks %d to %d on a device of %d", j.First, j.Blocks, dev.Blocks)
	}
	places := make([]block.Number, j.Blocks)
	for n := range places {
		places[n] = block.Number(n)
	}
	places[0] = at
	journal, err := wal.OpenJournal(w.apart, super.BlockSize, places, j.Sequence)
	if err == nil {
		err = journal.Reset(0)
	}
	return journal, err
}

// renewLog binds the log, which is empty, to this mount.
func (w *Writable) renewLog() error {
	if _, err := rand.Read(w.logID[:]); err != nil {
		return err
	}
	p := make([]byte, disk.SuperblockSize)
	if _, err := w.apart.ReadAt(p, disk.SuperblockOffset); err != nil {
		return fmt.Errorf("read the log's superblock: %w", err)
	}
	disk.PutLogID(p, w.logID)
	if _, err := w.apart.WriteAt(p, disk.SuperblockOffset); err != nil {
		return fmt.Errorf("write the log's superblock: %w", err)
	}
	if err := w.apart.Sync(); err != nil {
		return fmt.Errorf("flush the log's superblock: %w", err)
	}
	failpoint.At("recovery", "renewed")
	return nil
}
