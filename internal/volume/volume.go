// Package volume joins the layers into an open image. Open gives a Volume, which is only read: partition, cache,
// ext4.FS. OpenWritable and OpenOverlay give a Writable: locks and multiple mount protection, recovery of the journal,
// an mvcc store over it, and ext4.Writable on top; the changes go into the image or into an overlay.
package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// DefaultCache is the default bound of the metadata cache in bytes.
const DefaultCache = 16 << 20

// Spec says which file system to open, and how.
type Spec struct {
	Image      string
	Part       string // "", "auto", or a partition's number
	Offset     int64  // bytes from the image's start to the file system
	Superblock int64  // byte offset of a backup superblock within the file system
	Journal    string // the external journal's image
	WAL        string // the log beside an image without a journal
	NoLock     bool   // open it although another mount may write to it
	Adopt      bool   // an overlay goes over the image although that is not as it was when the overlay was made
	NoRecovery bool
	Cache      int64  // bytes; 0: DefaultCache
	Trace      string // write the numbers of the metadata blocks asked for into this file
}

// Spare refuses an output file that is the image itself, or its journal, under any name: to open it for output would
// cut it short.
func (s Spec) Spare(output string) error {
	to, err := os.Stat(output)
	if err != nil {
		return nil // what is not there yet is no image
	}
	for _, path := range []string{s.Image, s.Journal, s.WAL} {
		if from, err := os.Stat(path); err == nil && os.SameFile(from, to) {
			return fmt.Errorf("%s is %s itself: write to another file", output, path)
		}
	}
	return nil
}

// Volume is an open file system and what lies below it.
type Volume struct {
	*ext4.FS
	Device    blockcache.Device // the file system's bytes: the image, or a window of it
	Cache     *blockcache.Cache
	Ahead     *blockcache.Readahead
	Partition *blockcache.Partition // nil where the file system is not in a partition

	files []io.Closer
}

// Open opens the file system that a Spec names. Close it after use.
func Open(s Spec) (v *Volume, err error) {
	v = &Volume{}
	defer func() {
		if err != nil {
			v.Close()
			v = nil
		}
	}()
	if err = v.openDevice(s); err != nil {
		return v, err
	}
	opts := ext4.Options{NoRecovery: s.NoRecovery, Superblock: s.Superblock}
	if s.Journal != "" {
		journal, err := blockcache.OpenFile(s.Journal)
		if err != nil {
			return v, fmt.Errorf("journal device: %w", err)
		}
		v.files = append(v.files, journal)
		opts.Journal = journal
	}
	if s.WAL != "" {
		log, err := openLogForReading(s.WAL)
		if err != nil {
			return v, err
		}
		if log != nil {
			v.files = append(v.files, log)
			opts.Log = log
		}
	}
	limit := s.Cache
	if limit <= 0 {
		limit = DefaultCache
	}
	var traceErr error
	opts.Blocks = func(image io.ReaderAt, size block.Size) ext4.Blocks {
		v.Ahead = blockcache.NewReadahead(v.Device)
		v.Cache = blockcache.NewCache(image, v.Ahead, size, limit)
		if s.Trace == "" {
			return v.Cache
		}
		var t *trace
		if t, traceErr = newTrace(s, v.Cache); traceErr != nil {
			return v.Cache
		}
		v.files = append(v.files, t)
		return t
	}
	if v.FS, err = ext4.Open(v.Device, opts); err != nil {
		return v, fmt.Errorf("%s: %w", s.Image, explain(err, v.Device))
	}
	return v, traceErr
}

// OpenSuperblock opens the device of a Spec and decodes its superblock only, so that an image that cannot be read can
// still be described.
func OpenSuperblock(s Spec) (*Volume, *disk.Superblock, error) {
	v := &Volume{}
	if err := v.openDevice(s); err != nil {
		v.Close()
		return nil, nil, err
	}
	super, err := ext4.ReadSuperblock(v.Device, s.Superblock)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.Image, explain(err, v.Device))
		v.Close()
		return nil, nil, err
	}
	return v, super, nil
}

// OpenDevice opens the device of a Spec alone, so that even an image without a superblock can be looked into.
func OpenDevice(s Spec) (*Volume, error) {
	v := &Volume{}
	if err := v.openDevice(s); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Close closes the image. Nothing that came from the volume may be used afterwards.
func (v *Volume) Close() error {
	var errs []error
	for _, f := range v.files {
		errs = append(errs, f.Close())
	}
	v.files = nil
	return errors.Join(errs...)
}

// ErrTwoPlaces says that a Spec has both a partition and an offset.
var ErrTwoPlaces = errors.New("give a partition or an offset, not both")

// openDevice opens the image, and the window of it that the file system lies in.
func (v *Volume) openDevice(s Spec) error {
	file, err := blockcache.OpenFile(s.Image)
	if err != nil {
		return err
	}
	v.files = append(v.files, file)
	v.Device = file
	switch {
	case s.Part != "" && s.Offset != 0:
		return fmt.Errorf("%s: %w", s.Image, ErrTwoPlaces)
	case s.Part != "":
		return v.openPartition(file, s)
	case s.Offset != 0:
		w, err := blockcache.NewWindow(file, s.Offset, file.Size()-s.Offset)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Image, err)
		}
		v.Device = w
	}
	return nil
}

// openPartition narrows the device to the partition that a Spec names; "auto" stands for the only one that holds an
// ext2, ext3 or ext4 file system, or the whole image where that does.
func (v *Volume) openPartition(d blockcache.Device, s Spec) error {
	auto := s.Part == "auto"
	if auto && isExt(d) {
		return nil
	}
	scheme, parts := blockcache.Partitions(d)
	if scheme == "" {
		return fmt.Errorf("%s: %w", s.Image, explain(errors.New("has no partition table"), d))
	}
	var found []blockcache.Partition
	for _, p := range parts {
		if auto {
			if w, err := blockcache.NewWindow(d, p.Offset, p.Size); err == nil && isExt(w) {
				found = append(found, p)
			}
		} else if n, err := strconv.Atoi(s.Part); err == nil && p.Number == n {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return fmt.Errorf(
			"%s: no partition %s in its %s table: it has %s",
			s.Image,
			describeWanted(s.Part),
			scheme,
			list(parts),
		)
	case len(found) > 1:
		return fmt.Errorf(
			"%s: several partitions hold an ext file system: choose one with --part N: %s",
			s.Image,
			list(found),
		)
	}
	w, err := blockcache.NewWindow(d, found[0].Offset, found[0].Size)
	if err != nil {
		return fmt.Errorf("%s, partition %d: %w", s.Image, found[0].Number, err)
	}
	v.Device, v.Partition = w, &found[0]
	return nil
}

func describeWanted(part string) string {
	if part == "auto" {
		return "with an ext2, ext3 or ext4 file system"
	}
	return part
}

func list(parts []blockcache.Partition) string {
	var out []string
	for _, p := range parts {
		out = append(out, fmt.Sprintf("%d (%d bytes at %d)", p.Number, p.Size, p.Offset))
	}
	return strings.Join(out, ", ")
}

func isExt(d blockcache.Device) bool {
	_, err := ext4.ReadSuperblock(d, 0)
	return err == nil || errors.Is(err, ondisk.ErrCorrupt) && !errors.Is(err, disk.ErrMagic)
}
