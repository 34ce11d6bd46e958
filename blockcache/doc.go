// Package blockcache is the layer of block devices, with a cache of clean blocks in front of them.
//
//	         Cache (S3-FIFO, sharded, bounded in bytes)
//	           │ ReadAt, whole blocks; misses go to Readahead, which advises the device
//	Window ── Device ── File (regular file or block device, mapped into memory) │ Memory
//	             │
//	          Writable ─┬─ Disk │ RAM
//	                    ├─ Overlay: changes in a file, over a Device that is only read
//	                    └─ Recording (a trace for crash states) │ Faulty (fails on purpose), around another Writable
//
// A Device is read by byte ranges. A Cache keeps whole blocks of one; its bytes are immutable, so that many readers
// may hold them without a copy. Sync of a Writable is a flush: fdatasync(2), not the writing of buffers. Offsets and
// lengths are in bytes. Nothing here knows what the blocks mean. The errors are in errors.go.
package blockcache
