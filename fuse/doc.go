// Package fuse shows a file system of package ext4 as a mount: a thin front over go-fuse's raw API. Each request is
// decoded, answered by one call into ext4, and its error mapped to an errno (errno.go).
//
//	kernel ── /dev/fuse ── go-fuse ── front ─┬─ read-only: ext4.FS, and bytes of the image from its mapping, without a copy
//	                                         └─ read-write: ext4.Writable, where each request is a transaction
//
// New mounts an image for reading, NewWritable one for writing. The front keeps no state of files or directories beyond
// open handles, the count of the kernel's lookups of each inode (a file without links is freed when the kernel has
// forgotten all of them), and which files have written back pages that found no room. A node id is made of inode number
// and generation: one that does not fit its inode any more is ESTALE.
//
// The kernel may keep names, attributes and pages for ever: an image that is only read does not change, and all changes
// of one that is written come through the kernel itself.
package fuse
