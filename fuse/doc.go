// Package fuse shows an ext4.FS as a mounted file system: a thin front over go-fuse's raw API. Each request is
// decoded, answered by one call into ext4, and its error mapped to an errno.
//
//	kernel ── /dev/fuse ── go-fuse ── front ── ext4
//	                                    └──── bytes of the image, handed over from its mapping without a copy
//
// The front keeps no state of files or directories: a node id is made of inode number and generation, so memory stays
// flat however many files are visited, and a node id that no longer fits its inode is ESTALE. The image does not
// change under a read-only mount, so everything that the kernel is told it may keep for as long as it likes.
package fuse
