// Package ext4 reads and writes ext2, ext3 and ext4 file systems: inodes, extents, directories, extended attributes and
// the journal, without the kernel and without FUSE.
//
// Reading, FS:
//
//	Open ── superblock, journal replay (a map in memory from a block's home to its copy in the log)
//	 │
//	Inode ── Map (extents or indirect blocks) ── Segments ── bytes of the image, holes, inline data
//	 │  └─── Xattrs (in the inode, in a block, in inodes of their own)
//	 └────── ReadDir, Lookup (linear blocks, hash trees, inline directories)
//
// An FS reads metadata by whole blocks (Blocks), which a cache may serve, and file contents by byte ranges of the image
// (io.ReaderAt), which pass no cache of ours. It never changes a byte of the image, whatever state the journal is in.
// Its methods may be called from many goroutines at once, and take no lock.
//
// Writing, Writable:
//
//	Writable.Create, Write, Rename, … ── op: one transaction of a Store, run again where another one came first
//	      │                           ├─ reads through a view: an FS over the transaction's snapshot
//	      │                           └─ typed edits (package merge) of bitmaps, inode slots, extents, directory blocks
//	      └── Seal: when an epoch closes, checksums, free counts and the list of orphans are computed on copies of its blocks
//
// A Writable keeps in memory what transactions must not conflict over: bitmaps with what transactions under way have
// reserved (alloc.go), windows of growing files (window.go), orphans (orphans.go), attribute blocks by contents
// (xattrshare.go). The Store is an interface (store.go): an mvcc store stands behind it in package volume.
//
// Errors belong to one of three families, ondisk.ErrCorrupt, ondisk.ErrUnsupported, or an error of the device; changes
// have the sentinels of store.go beside them. A damaged structure makes the paths through it fail and leaves the rest
// readable. Not promised: that a damaged image reads the same with another implementation, or that contents are right
// where the format has no checksum.
package ext4
