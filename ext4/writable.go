package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Writable is a file system that is open for reading and writing over a transactional store. Each method that changes
// something is one transaction, or, where docs/design.md says so, a bounded series of them that recovery goes on with.
//
//	request ─▶ Writable.do ─▶ Store.Update ─▶ op: reads through a view of the transaction, typed edits ─▶ commit
//	                └──── again, where another transaction came first ◀──────┘
//
// Sealed fields (checksums, free counts, the orphans' list) are no transaction's to edit: Seal computes them when an
// epoch closes.
//
// Lock order: the allocator's locks, in its order; orphans.mu; shared.mu; values.mu. None is held while the store is
// called, but group.mu for a View, and quotas.tree. Sequenced hooks take the three before.
type Writable struct {
	opts  WriteOptions
	store Store
	base  *FS
	super *disk.Superblock

	views   views
	alloc   allocator
	kinds   map[block.Number]fixed // blocks at fixed places
	own     ownBlocks
	orphans orphans
	sealer  sealer
	shared  byContents[block.Number] // blocks of attributes
	values  byContents[Ino]          // inodes that hold a value
	quotas  quotas

	grown    grown // where there is no journal
	counts   counters
	damage   damage
	shutdown shutdown
	turned   atomic.Uint64 // features that were turned on since the file system was opened
}

// WriteOptions say how a file system is written.
type WriteOptions struct {
	JournalData bool // file data goes through the journal, too
	NoAtime     bool
	StrictAtime bool // each read sets the time of access, not only where relatime does
	Sync        bool // every change is durable when its operation returns
	DirSync     bool // changes of directories are
	OnDamage    OnDamage
	// bytes that bitmaps of groups may take in memory, but for those in use; no bound where 0
	Bitmaps int64
	Quotas  QuotaOptions
	Log     Log // where changes are logged
	Discard Discard
	Cut     func()           // has nothing written any more; may be nil
	Now     func() time.Time // the time in ticks of 4 ms where nil
	// the generation of the next inode; a random number where nil
	Generation func() uint32
}

// Log says where the changes of a file system are logged, and so what its superblock says of a crash.
type Log uint8

const (
	LogOwn     Log = iota // in the superblock's own journal, which needs recovery after a crash
	LogOverlay            // with the changes themselves: nothing of the image changes
	LogBeside             // in a file beside the image, which it is not clean without
	LogNone               // nowhere: while it is mounted it is not clean, and fsck finds orphans without a list
)

// unclean reports whether a crash leaves what only a full check can repair, so that the superblock must not say that it
// is clean.
func (l Log) unclean() bool { return l >= LogBeside && !mutant.Off(mutant.Unclean) }

// fixed describes a block of metadata at a fixed place of the image.
type fixed struct {
	kind  uint8
	group disk.Group
}

// Cred is the user of a request, for what the kernel leaves to the file system: the owner of new files, and the use of
// reserved blocks.
//
// Context ends when the answer is not waited for any more; nil where that is not known. Waits for room, for other
// transactions and for the device end with it, and with its error, before anything was done; a series of transactions
// ends between two of them. What is committed is done: its operation then returns without an error, though WriteOptions
// may ask for a durability that it does not have yet. It is a field, as in http.Request, because it belongs to the
// request as the user does.
type Cred struct {
	UID, GID uint32
	Thread   uint32 // that asked, for SetRights; 0 where it is not known
	Context  context.Context
	// Committed is called with the sequence of each commit that the operation makes; may be nil.
	Committed func(commit uint64)
}

func (c Cred) context() context.Context {
	if c.Context == nil {
		return context.Background()
	}
	return c.Context
}

// Node names an inode: its number, and above it its generation, which shows that the inode was freed since, and maybe
// allocated again (ErrStale).
type Node uint64

// NodeOf is an inode's node.
func NodeOf(n *Inode) Node { return Node(n.Generation)<<32 | Node(n.Ino) }

// Root is the root directory's node: any generation of it is right.
const Root = Node(RootIno)

// Ino is the node's inode number.
func (n Node) Ino() Ino { return Ino(n) }

// minGroup is the number of blocks of the smallest group that mke2fs makes. Each group takes memory while its file
// system is open for writing.
const minGroup = 256

// CheckWritable returns an UnsupportedError that names what varve reads and does not write yet.
func CheckWritable(s *disk.Superblock) error {
	if err := s.CheckReadable(); err != nil {
		return err
	}
	var found string
	add := func(on bool, name string) {
		if on && found == "" {
			found = name
		}
	}
	if s.ROCompat&disk.ROCompatBigalloc != 0 {
		add(s.Incompat&disk.IncompatExtents == 0, "bigalloc without extents")
		add(s.FirstDataBlock != 0, "bigalloc with clusters that do not begin at block 0")
		add(uint64(s.Blocks)%uint64(s.ClusterBlocks) != 0, "bigalloc with a part of a cluster at the end")
	}
	add(s.ROCompat&disk.ROCompatSharedBlocks != 0, "shared_blocks")
	add(s.ROCompat&disk.ROCompatReadonly != 0, "read-only")
	add(s.ROCompat&(disk.ROCompatHasSnapshot|disk.ROCompatReplica) != 0, "snapshot or replica")
	add(s.Incompat&disk.IncompatCasefold != 0 && s.Encoding != disk.EncodingUTF8,
		fmt.Sprintf("casefold by encoding %d", s.Encoding))
	add(s.Incompat&disk.IncompatDirdata != 0, "dirdata")
	add(s.Incompat&disk.IncompatMMP != 0 && !s.Contains(s.MMPBlock, 1), "mmp without its block")
	add(s.IsHurd(), "an image of the Hurd, whose inodes have other fields,")
	add(s.BlocksPerGroup < minGroup, fmt.Sprintf("groups of %d blocks", s.BlocksPerGroup))
	const known = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatBtreeDir | disk.ROCompatHugeFile |
		disk.ROCompatGDTCsum | disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum |
		disk.ROCompatProject | disk.ROCompatQuota | disk.ROCompatOrphanPresent | disk.ROCompatVerity |
		disk.ROCompatBigalloc
	add(s.ROCompat&^known != 0, (s.ROCompat &^ known).String())
	if found == "" {
		return nil
	}
	return &ondisk.UnsupportedError{
		Feature: found + " (for writing)",
		Advice:  "varve reads it and does not write it yet: mount without --rw",
	}
}

// OpenWritable opens a file system for writing. base is the recovered image, opened for reading; its blocks are those
// that the store's home has. Recover must be called before anything else.
func OpenWritable(base *FS, store Store, image io.ReaderAt, opts WriteOptions) (*Writable, error) {
	if err := CheckWritable(base.super); err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = coarse
	}
	if opts.Generation == nil {
		opts.Generation = rand.Uint32
	}
	w := &Writable{opts: opts, store: store, base: base, super: base.super,
		shared: newByContents[block.Number](), values: newByContents[Ino]()}
	w.views = views{
		base:     base,
		image:    image,
		unsealed: base.super.Unsealed(),
		orphans:  &w.orphans,
		fileData: opts.JournalData,
	}
	w.alloc.init(base, store, &w.views, opts.Bitmaps)
	w.alloc.damaged = w.Damaged
	if err := w.openGroups(); err != nil {
		return nil, err
	}
	var err error
	if w.own, err = base.ownBlocks(); err != nil {
		return nil, err
	}
	if err := w.openOrphans(); err != nil {
		return nil, err
	}
	if err := w.openQuotas(); err != nil {
		return nil, err
	}
	return w, nil
}

// openGroups reads the descriptors, and finds what lies at fixed places.
func (w *Writable) openGroups() error {
	s := w.super
	w.kinds = map[block.Number]fixed{}
	w.sealer.init(w)
	w.kinds[block.Number(disk.SuperblockOffset/uint32(s.BlockSize))] = fixed{kind: kindSuper}
	for g := range s.Groups() {
		d, err := w.base.GroupDesc(g)
		if err != nil {
			return err
		}
		if err := w.base.checkGroup(g, d); err != nil {
			return err
		}
		at, _ := s.DescBlock(g)
		w.kinds[at] = fixed{kindGroupDesc, g}
		w.kinds[d.BlockBitmap] = fixed{kindBlockMap, g}
		w.kinds[d.InodeBitmap] = fixed{kindInodeMap, g}
		w.alloc.open(g, d)
		w.sealer.record(g, d)
	}
	return nil
}

// coarse is the time in ticks, as the kernel's ext4 keeps it: operations of one tick change an inode's times once.
func coarse() time.Time { return time.Now().Truncate(4 * time.Millisecond) }

// Superblock is the superblock as it was when the file system was opened.
func (w *Writable) Superblock() *disk.Superblock { return w.super }

// View runs fn over a snapshot of the file system. Nothing that it gives may be used afterwards.
func (w *Writable) View(fn func(*FS) error) error { return w.ViewNamed("a reader", fn) }

// ViewNamed is View for a caller that may take long, and so hold writers back: its name is reported then.
func (w *Writable) ViewNamed(name string, fn func(*FS) error) error {
	return w.store.View(context.Background(), name, func(tx Tx) error {
		fs := w.views.open(tx)
		defer w.views.close(fs)
		return fn(fs)
	})
}

// ReadNode reads a node's inode into n.
func (fs *FS) ReadNode(n *Inode, node Node) error {
	err := fs.ReadInode(n, node.Ino())
	if errors.Is(err, ErrNotExist) || err == nil && node.Ino() != RootIno && n.Generation != uint32(node>>32) {
		return ErrStale
	}
	return err
}

// Sync makes all that was done so far durable.
func (w *Writable) Sync(ctx context.Context) error {
	if err := w.refused(); err != nil {
		return err
	}
	return w.store.Sync(ctx)
}

// SyncNode makes a node durable (fsync, fdatasync and fsyncdir), and with it all that was done before, to any node:
// sync(1) and syncfs(2) reach few mounts, so this is how a program asks for everything.
func (w *Writable) SyncNode(ctx context.Context, node Node) error {
	return w.Sync(ctx)
}

// Stat sums up what statfs(2) gives.
func (w *Writable) Stat() (Stat, error) {
	s, err := w.base.Stat()
	if err != nil {
		return s, err
	}
	// what was freed is free as soon as it is needed
	free := w.alloc.freeBlocks.Load() + w.alloc.waiting.blocks.Load() + w.alloc.windows.blocks.Load()
	s.Free = uint64(max(free, 0)) * uint64(w.super.ClusterBlocks)
	s.FreeInodes = uint64(max(w.alloc.freeInodes.Load(), 0))
	s.Available = s.Free - min(w.super.ReservedBlocks+keptForNodes(w.super), s.Free)
	return s, nil
}
