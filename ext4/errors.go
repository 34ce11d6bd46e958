package ext4

import "errors"

// The sentinel errors of this package, for errors.Is. Beside them an error may be of the families ondisk.ErrCorrupt
// (the image is damaged: what, and where) and ondisk.ErrUnsupported (varve does not implement the feature or the
// operation), or an error of the device. Package fuse has the errno of each.

// Names, inodes and attributes, for reading and for changes.
var (
	ErrNotExist = errors.New("does not exist")                           // a name or an inode
	ErrNoXattr  = errors.New("no such extended attribute")               // of an inode that exists
	ErrNotDir   = errors.New("not a directory")                          // a directory was needed
	ErrLoop     = errors.New("too many levels of symbolic links")        // on a path
	ErrNoKey    = errors.New("encrypted, and the key is not available")  // contents, and names to add
	ErrNoData   = errors.New("no data or hole at or behind this offset") // SEEK_DATA and SEEK_HOLE
	// a block of a file under verity, or of its Merkle tree
	ErrVerity = errors.New("does not match its verity hash: the file's contents were changed or are damaged")
	// a Node whose inode was freed or taken anew
	ErrStale = errors.New("the inode is gone")
	// a name over MaxName, a symlink's target
	ErrTooLong      = errors.New("the name is too long")
	ErrInvalid      = errors.New("invalid argument")                               // a name, an offset, flags
	ErrNeedsLog     = errors.New("the file system's newest blocks are in its log") // Options.Log was not given
	ErrForeignLog   = errors.New("the log is of another file system or mount")     // than the image
	ErrNeedsJournal = errors.New("the file system's journal is on another device") // Options.Journal was not given
)

// Changes only.
var (
	ErrExists    = errors.New("the name exists")
	ErrNotEmpty  = errors.New("the directory is not empty")
	ErrIsDir     = errors.New("is a directory")
	ErrManyLinks = errors.New("too many links")
	ErrCross     = errors.New("not within one project")
	ErrNotPermit = errors.New("operation not permitted") // immutable, append-only, or not the owner
	ErrAccess    = errors.New("permission denied")
	ErrXattrName = errors.New("the attribute's name is too long")
	ErrNoSpace   = errors.New("no space left on the file system")
	ErrQuota     = errors.New("a limit of a quota would be exceeded")
	ErrTooBig    = errors.New("the file would become too large")
	ErrFailed    = errors.New("the file system has failed and takes no more changes")
	ErrShutdown  = errors.New("the file system was shut down") // on request, see Writable.Shutdown
)
