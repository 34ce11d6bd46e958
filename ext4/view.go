package ext4

import (
	"io"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// view is the state, beside its blocks, of an FS that reads through a transaction. The zero value is that of an image
// that is only read: all fields on it are valid, nothing has to be declared, and an inode without links is free.
type view struct {
	tx       Tx
	unsealed *disk.Superblock // decodes blocks that are not sealed yet: it verifies no checksums
	orphans  *orphans
	fileData bool // file data may have versions, too
}

// changing reports whether blocks may change under an FS: between one read and the next within a transaction of its
// own.
func (v *view) changing() bool { return v.tx != nil }

// versioned reports whether a block has versions. Sealed fields are not valid in them.
func (v *view) versioned(n block.Number) bool { return v.tx != nil && v.tx.Versioned(n) }

// depend declares that the operation depends on a whole block.
func (v *view) depend(n block.Number, p []byte) error {
	if v.tx == nil {
		return nil
	}
	return v.tx.Depend(n, merge.Range{Len: uint32(len(p))})
}

// orphan reports whether an inode without links is in use nevertheless. Its time of deletion, on the image, is a link
// of the list then.
func (v *view) orphan(ino Ino) bool { return v.orphans != nil && v.orphans.has(ino) }

// decoder is the superblock to decode a block with.
func (fs *FS) decoder(n block.Number) *disk.Superblock {
	if fs.view.versioned(n) {
		return fs.view.unsealed
	}
	return fs.super
}

// views makes the FS of each transaction of a file system that is open for writing.
type views struct {
	base     *FS
	image    io.ReaderAt
	unsealed *disk.Superblock
	orphans  *orphans
	fileData bool
}

// viewPool recycles what open makes. It is no part of a Writable, which the collector would have to keep for as long as
// the pool.
var viewPool sync.Pool

// open makes an FS that reads through a transaction, until close.
func (v *views) open(tx Tx) *FS {
	fs, _ := viewPool.Get().(*FS)
	if fs == nil {
		fs = &FS{}
	}
	fs.super, fs.image, fs.tables, fs.blocks = v.base.super, v.image, v.base.tables, tx
	fs.view = view{tx: tx, unsealed: v.unsealed, orphans: v.orphans, fileData: v.fileData}
	return fs
}

func (v *views) close(fs *FS) {
	fs.super, fs.image, fs.tables, fs.blocks = nil, nil, nil, nil
	fs.view = view{}
	viewPool.Put(fs)
}
