package ext4

import (
	"context"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// Store is the transactional store below a file system that is open for writing, as far as ext4 needs it.
type Store interface {
	// View runs fn over a snapshot. Writers that wait for its end report its name.
	View(ctx context.Context, name string, fn func(Tx) error) error
	// Update runs fn in a transaction, again where another one came first, and commits it.
	Update(ctx context.Context, fn func(Tx) error) (Outcome, error)
	// Reusable reports whether blocks that a commit freed may be used again (W4).
	Reusable(block.Seq) bool
	// Oldest is the name of the oldest live snapshot, if there is one: it may be what keeps freed blocks.
	Oldest() (name string, ok bool)
	// Sync makes all commits durable.
	Sync(ctx context.Context) error
	// Err is why no more changes are taken, if so, and Fail makes it so.
	Err() error
	Fail(err error)
}

// Outcome is the result of a transaction.
type Outcome struct {
	Seq    block.Seq // of the commit; 0 where there was nothing to commit
	Aborts int       // attempts that lost
	Merged bool      // an edit was run again on newer bytes
	Waited time.Duration
}

// Tx is a transaction over blocks: a snapshot with this transaction's own edits.
type Tx interface {
	Blocks
	// Versioned reports whether a block has versions, in which sealed fields are not valid.
	Versioned(n block.Number) bool
	Edit(n block.Number, e merge.Edit) error
	// Depend declares what the edits follow from: the commit fails where another one has changed it first.
	Depend(n block.Number, r merge.Range) error
	// WriteHome writes file data to its place before the commit: what the commit makes readable (ordered), or an
	// overwrite of what can be read already.
	WriteHome(n block.Number, off uint32, data []byte, ordered bool) error
	// Free says that a block of metadata is free from this commit on.
	Free(n block.Number)
	// Tag says what a block is, for the sealer.
	Tag(n block.Number, kind uint8, owner uint64) error
	// Group makes the transaction one of a group's, such as an inode's.
	Group(key uint64)
	// Sequenced has a function called with the commit's sequence, before the commit can be seen.
	Sequenced(func(block.Seq))
}

// Epoch gives a sealer the blocks that the commits of an epoch changed.
type Epoch interface {
	Blocks(do func(n block.Number, kind uint8, owner uint64))
	// Image is the copy of a block that goes to the journal; it is completed in place, and added where no commit
	// changed it.
	Image(n block.Number) ([]byte, error)
	// Late has a block go home when the others are there, where no log keeps an epoch together.
	Late(n block.Number)
	// Last is the last commit of the epoch.
	Last() block.Seq
}

// The kinds of blocks, for the sealer.
const (
	kindInodes     = 1 + iota // owner: group
	kindBlockMap              // owner: group
	kindInodeMap              // owner: group
	kindGroupDesc             // nothing
	kindSuper                 // nothing
	kindDirLeaf               // owner: node
	kindHtreeRoot             // owner: node
	kindHtreeNode             // owner: node
	kindExtents               // owner: node
	kindPlain                 // indirect pointers, a symlink's target, file data: nothing to seal
	kindXattrs                // nothing
	kindOrphanFile            // nothing
)
