// Package ext4 reads ext2, ext3 and ext4 file systems: inodes, extents, directories, extended attributes and the
// journal, without the kernel and without FUSE.
//
//	Open ── superblock, journal replay (a map in memory from a block's home to its copy in the log)
//	 │
//	Inode ── Map (extents or indirect blocks) ── Segments ── bytes of the image, holes, inline data
//	 │  └─── Xattrs (in the inode, in a block, in inodes of their own)
//	 └────── ReadDir, Lookup (linear blocks, hash trees, inline directories)
//
// An FS is read through two doors: metadata by whole blocks (Blocks), which a cache may serve, and file contents by
// byte ranges of the image (io.ReaderAt), which never pass a cache of ours. Both only read; opening and reading an
// image never changes a byte of it, whatever state its journal is in.
//
// All methods may be called from many goroutines at once: an FS holds no lock on any path that reads, because what it
// keeps (superblock, replay map) is not changed after Open.
//
// Errors belong to one of three families: ondisk.ErrCorrupt, ondisk.ErrUnsupported, or an error of the device. A
// damaged structure makes the paths through it fail and leaves the rest readable. Not promised: that a damaged image
// reads the same with another implementation, or that contents are right where the format has no checksum.
package ext4
