// Package fuse shows a file system of package ext4 as a mount: a thin front over go-fuse's raw API. Each request is
// decoded, answered by one call into ext4, and its error mapped to an errno (errno.go).
//
//	kernel ── /dev/fuse ── go-fuse ─┬─ front: an ext4.FS; bytes of the image come from its mapping, without a copy
//	                                └─ writable: an ext4.Writable; each change is a transaction, each question goes
//	                                   to a front over a snapshot
//
// New mounts an image for reading, NewWritable one for writing; Mount.Serve answers until the file system is unmounted.
// The writing front is in names.go, io.go, write.go and attributes.go.
//
// A front keeps no state of files or directories beyond the count of the kernel's lookups of each inode (a file without
// links is freed when the kernel has forgotten all of them), and which files have written back pages that found no
// room. A node id is made of inode number and generation: a request for a node that is gone, or taken anew, is ESTALE.
//
// The kernel interrupts a request for any signal that its process handles. A copy then ends between two chunks, short.
// An fsync, or a change that waits for room, goes on, unless its thread is dying (interrupt.go). A flush that is under
// way then goes on by itself.
//
// The kernel may keep names, attributes and pages for ever: an image that is only read does not change, and all changes
// of one that is written come through the kernel itself.
package fuse
