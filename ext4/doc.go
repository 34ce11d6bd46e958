// Package ext4 reads and writes ext2, ext3 and ext4 file systems: inodes, extents, directories, extended attributes and
// the journal, without the kernel and without FUSE.
//
// An FS is a file system that is only read. Open replays its journal in memory; FS.IOFS is what the standard library's
// io/fs knows, and FS.Resolve, Inode.Lookup, Inode.ReadDir, Inode.ReadAt and Inode.Xattrs show what that cannot.
//
//	Open ── superblock, journal replay (a map in memory from a block's home to its copy in the log)
//	 │
//	Inode ── Map (extents or indirect blocks) ── Segments ── bytes of the image, holes, inline data
//	 │  └─── Xattrs (in the inode, in a block, in inodes of their own)
//	 └────── ReadDir, Lookup (linear blocks, hash trees, inline directories)
//
// An FS reads metadata by whole blocks (Blocks), which a cache may serve, and file contents by byte ranges of the image
// (io.ReaderAt), which pass no cache of this package. It never changes a byte of the image, in any state of the
// journal. Its methods may be called from many goroutines at once, and take no lock. FS.Check reads everything, and
// reports what is wrong.
//
// A Writable is a file system that is open for writing, over a transactional Store: an interface, behind which package
// volume puts an mvcc store. Each operation is a method with the Cred of its request, and names inodes by Node.
//
//	Writable.Create, Write, Rename, … ── op: one transaction, run again where another one came first
//	      │                              ├─ reads by an FS over the transaction's snapshot (view.go)
//	      │                              ├─ blocks and inodes of the allocator (allocator.go)
//	      │                              └─ typed edits (package merge) of bitmaps, inode slots, extents, directories
//	      └── Seal: when an epoch closes, checksums and derived fields (free counts, the form of the orphans) are
//	          computed on copies of its blocks
//
// Reads of a Writable go through View, which gives an FS over a snapshot. In memory a Writable keeps what transactions
// must not conflict over: the bitmaps with what is reserved (group.go), windows of growing files (window.go), orphans
// (orphans.go), attribute blocks and values by contents (xattrshare.go).
//
// The errors are in errors.go. A damaged structure makes the paths through it fail and leaves the rest readable. Not
// promised: that a damaged image reads the same with another implementation, or that contents are right where the
// format has no checksum.
package ext4
