package ext4

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Ino and FileBlock are the numbers of inodes and of blocks within a file.
type (
	Ino       = disk.Ino
	FileBlock = disk.FileBlock
)

// RootIno is the inode of the root directory.
const RootIno = disk.RootIno

// Blocks gives the file system its metadata.
type Blocks interface {
	// ReadBlock returns a whole block. The bytes are immutable and stay valid as long as they are referred to.
	ReadBlock(n block.Number) ([]byte, error)
}

// Options say how to open an image. The zero value is a good default.
type Options struct {
	// NoRecovery leaves the journal alone even where the image needs recovery: the files are shown as their blocks are
	// at home, which may be inconsistent.
	NoRecovery bool
	// Journal is the image of the external journal, where the file system has one.
	Journal io.ReaderAt
	// Log is the log beside an image without a journal. It is read where the superblock says that it is needed.
	Log io.ReaderAt
	// Superblock is the byte offset of the superblock to use; 0 stands for the primary one. Backups lie at the start
	// of groups, see mke2fs(8).
	Superblock int64
	// Blocks, if set, makes the source of metadata for blocks of the given size, usually a cache in front of the image.
	Blocks func(image io.ReaderAt, size block.Size) Blocks
}

// FS is an open file system.
type FS struct {
	super  *disk.Superblock
	image  io.ReaderAt
	blocks Blocks
	log    replayed
	fast   *fastOverlay
	tables *tableCache

	statOnce  sync.Once
	statCache Stat
	statErr   error

	view view // of a transaction; zero otherwise

	external io.ReaderAt // the device with the journal, where that is another one
}

// Open reads the superblock of an image, replays its journal in memory if that is needed, and gives access to the
// files. The image must stay open, and should not change, while the FS is used.
func Open(image io.ReaderAt, opts Options) (*FS, error) {
	super, err := ReadSuperblock(image, opts.Superblock)
	if err != nil {
		return nil, err
	}
	if err := super.CheckReadable(); err != nil {
		return nil, err
	}
	fs := &FS{super: super, image: image}
	if err := fs.requireSize(int64(super.Groups()) * int64(super.DescSize)); err != nil {
		return nil, fmt.Errorf("%d block groups: %w", super.Groups(), err)
	}
	fs.tables = newTableCache(super.Groups())
	if opts.Blocks != nil {
		fs.blocks = opts.Blocks(image, super.BlockSize)
	} else {
		fs.blocks = direct{image, super.BlockSize}
	}
	fs.external = opts.Journal
	if super.NeedsLog {
		fs.external = opts.Log
	}
	if fs.NeedsRecovery() && !opts.NoRecovery {
		if err := fs.replay(); err != nil {
			return nil, fmt.Errorf("replay the journal: %w", err)
		}
	}
	return fs, nil
}

// ReadSuperblock reads and checks the superblock at a byte offset of the image (0: the primary one).
func ReadSuperblock(image io.ReaderAt, offset int64) (*disk.Superblock, error) {
	if offset == 0 {
		offset = disk.SuperblockOffset
	}
	p := make([]byte, disk.SuperblockSize)
	n, err := image.ReadAt(p, offset)
	if n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, ondisk.Corruptf("superblock", "the image ends before byte %d", offset+int64(len(p)))
		}
		return nil, fmt.Errorf("read the superblock: %w", err)
	}
	return disk.DecodeSuperblock(p)
}

// requireSize says that an image has fewer bytes than it claims, where that is so: how much it claims bounds nothing,
// so what takes memory or time by it asks first.
func (fs *FS) requireSize(bytes int64) error {
	n, err := fs.image.ReadAt(make([]byte, 1), bytes-1)
	switch {
	case n == 1:
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return ondisk.Corruptf(
			"superblock",
			"the image ends before byte %d, which it must have by its counts: it is cut short, or its superblock is damaged",
			bytes,
		)
	}
	return fmt.Errorf("read byte %d of the image: %w", bytes-1, err)
}

// direct reads blocks from the image without a cache.
type direct struct {
	image io.ReaderAt
	size  block.Size
}

func (d direct) ReadBlock(n block.Number) ([]byte, error) {
	p := make([]byte, d.size)
	if got, err := d.image.ReadAt(p, d.size.Offset(n)); got < len(p) {
		return nil, readError(n, err)
	}
	return p, nil
}

// readError is the error of a block that could not be read in full.
func readError(n block.Number, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %v: %w", n, err)
}

// Superblock is the decoded superblock, after replay. It must not be changed.
func (fs *FS) Superblock() *disk.Superblock { return fs.super }

// NeedsRecovery reports whether the image was not unmounted cleanly and its journal, or its log, holds newer blocks.
func (fs *FS) NeedsRecovery() bool {
	return fs.super.NeedsLog || fs.super.Incompat&disk.IncompatRecover != 0 && fs.super.Compat&disk.CompatHasJournal != 0
}

// Replayed is the number of blocks whose newest copy is in the journal.
func (fs *FS) Replayed() int { return len(fs.log.at) }

// block returns a metadata block: its newest copy in the log, or the block at home.
func (fs *FS) block(n block.Number) ([]byte, error) {
	if n >= fs.super.Blocks {
		return nil, ondisk.Corruptf("image", "%v is past the end at %d", n, uint64(fs.super.Blocks))
	}
	if e, ok := fs.log.at[n]; ok {
		return fs.log.read(e)
	}
	return fs.blocks.ReadBlock(n)
}

// reloadSuper reads the superblock again, through the replayed journal.
func (fs *FS) reloadSuper() error {
	size := fs.super.BlockSize
	p, err := fs.block(block.Number(disk.SuperblockOffset / uint32(size)))
	if err != nil {
		return err
	}
	super, err := disk.DecodeSuperblock(p[disk.SuperblockOffset%uint32(size):])
	if err != nil {
		return err
	}
	if super.BlockSize != size || super.Groups() < fs.super.Groups() {
		return ondisk.Corruptf("superblock in the journal", "%d groups of blocks of %d bytes, expected %d of %d",
			super.Groups(), super.BlockSize, fs.super.Groups(), size)
	}
	if super.Blocks > fs.super.Blocks { // it was made larger
		if err := fs.requireSize(size.Offset(super.Blocks)); err != nil {
			return err
		}
	}
	if err := super.CheckReadable(); err != nil {
		return err
	}
	fs.super = super
	fs.tables = newTableCache(super.Groups()) // the journal's inode was read through descriptors that may be older
	return nil
}
