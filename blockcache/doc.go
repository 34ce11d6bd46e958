// Package blockcache is the seam to block devices, with the cache of clean blocks in front of them.
//
//	         Cache (S3-FIFO, sharded, bounded in bytes)
//	           │ ReadAt, whole blocks
//	Window ── Device ── File (regular file or block device, mapped into memory) │ Memory
//	             │
//	          Writable ── Disk │ RAM │ Recording (a trace for crash states) │ Faulty (fails on purpose)
//
// A Device is read by byte ranges. A Cache keeps whole blocks of one; its bytes are immutable, so that many readers
// may hold them without a copy. Nothing here knows what the blocks mean.
package blockcache
