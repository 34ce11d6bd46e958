package fuse

import (
	"context"
	"errors"
	"log"
	"sync"
	"sync/atomic"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// writable answers the kernel's requests for one read-write mount. It keeps nothing of the file system: questions go to
// a front over a snapshot, changes to ext4.Writable. The kernel alone changes things, and drops what it has cached as
// it does so; so everything may be cached for ever.
type writable struct {
	gofuse.RawFileSystem // ENOSYS for all other requests
	fs                   *ext4.Writable
	listings             *listings
	lookups              *lookups
	shortage             shortage
	writers              writers
	grown                grown
	server               notifier
	fronts               sync.Pool
	opendir              bool
	encrypted            bool // opening some files is refused, for reading, too
	writeback            bool // the kernel gathers writes
	// ENOSYS to OPEN and CREATE: the kernel does without, MKNOD creates, and no file has flags of its own
	noOpen   bool
	underway *underway                // observed operations; nil: none are
	killed   func(thread uint32) bool // reports whether the thread of an interrupted request is dying
	reporter
}

func newWritable(fs *ext4.Writable, logger *log.Logger) *writable {
	fs.SetRights(mayUseReserved)
	return &writable{
		RawFileSystem: gofuse.NewDefaultRawFileSystem(),
		fs:            fs,
		reporter:      reporter{log: logger, last: new(atomic.Int64), damaged: fs.Damaged},
		listings:      new(listings),
		lookups:       new(lookups),
		killed:        beingKilled,
		encrypted:     fs.Superblock().Incompat&disk.IncompatEncrypt != 0,
	}
}

func (f *writable) String() string { return "varve" }

// Init keeps the server, by which the kernel is notified that its caches are out of date.
func (f *writable) Init(s *gofuse.Server) { f.listen(s) }

func (f *writable) listen(n notifier) { f.server = n }

// changed has the kernel ask for the attributes of a node again: it does not expect an ioctl to change them.
func (f *writable) changed(id uint64, status gofuse.Status) gofuse.Status {
	if status.Ok() && f.server != nil {
		_ = f.server.InodeNotify(id, -1, 0)
	}
	return status
}

// blocksChanged is changed for what changes the number of blocks: with the writeback cache the kernel asks for nothing
// else that it does not expect.
func (f *writable) blocksChanged(id uint64, status gofuse.Status) gofuse.Status {
	if !f.writeback {
		return status
	}
	return f.changed(id, status)
}

// invalidateAttr has the kernel ask for the attributes of a node again.
func (f *writable) invalidateAttr(id uint64) { f.changed(id, gofuse.OK) }

// partlyDone has the kernel drop what it has cached of a file of which a change ended early: it expects that a request
// that fails has changed nothing. It is done beside the request, of which the kernel may hold the inode's lock.
func (f *writable) partlyDone(id uint64, err error) {
	if f.server != nil && (errors.Is(err, ext4.ErrNoSpace) || errors.Is(err, context.Canceled)) {
		go f.server.InodeNotify(id, 0, 0)
	}
}

// handOver has the kernel write back its dirty pages of a file that is open for writing.
func (f *writable) handOver(id uint64) {
	if f.server != nil && (f.noOpen || f.writers.any(id)) {
		_ = f.server.InodeNotify(id, 0, 0)
	}
}

// view answers a question over a snapshot.
func (f *writable) view(do func(*front) gofuse.Status) (status gofuse.Status) {
	r, _ := f.fronts.Get().(*front)
	if r == nil {
		r = &front{reporter: f.reporter, listings: f.listings, lookups: f.lookups, opendir: f.opendir}
	}
	err := f.fs.View(func(fs *ext4.FS) error {
		r.fs = fs
		status = do(r)
		return nil
	})
	r.fs = nil
	f.fronts.Put(r)
	if err != nil {
		return f.status("read", err)
	}
	return status
}

// node returns the inode of a node id.
func node(id uint64) ext4.Node {
	if id == gofuse.FUSE_ROOT_ID {
		return ext4.Root
	}
	return ext4.Node(id)
}

// syncAll is syncfs(2). The kernel has written back its dirty pages before.
func (f *writable) syncAll() gofuse.Status {
	if mutant.Off(mutant.SyncFS) {
		return gofuse.OK
	}
	return f.status("syncfs", f.fs.Sync(context.Background()))
}
