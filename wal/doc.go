// Package wal makes commits durable in groups: a write-ahead log of resolved byte ranges on a device of its own.
//
//	control │ control │ segment │ segment │ segment │ …        (docs/wal-format.md)
//	                     │
//	                     header, commit, commit, epoch, commit, …, end
//
// Commits come in sequence order (Append), gather in memory, and the first caller that needs them durable writes them:
// one flush at a time, which all waiters share. An epoch record ends each group; an end record with a digest (BLAKE3)
// ends each segment.
//
// Build each commit with a Record, give it to Log.Append, and wait for it with Log.Wait; Log.Truncate gives up what is
// home. Open recovers. Journal is the other form of a log: epochs of whole blocks in ext4's own journal format, which
// the kernel and e2fsck replay as well; Unlogged takes the same epochs where there is no journal.
//
// Invariants:
//
//   - W1: Wait returns only when the epoch of a sequence is durable.
//   - W3: ordered data is flushed home before the epoch record is written.
//   - W5: recovery applies whole epochs in order and stops at the first that is not whole; it runs no merge, and
//     running it again changes nothing.
//   - W7: records hold byte ranges as resolved after arbitration, in sequence order; a missing sequence ends the log.
//   - Segments are used again only after the control block that no longer names them is durable.
//   - A failed write or flush is final: nothing is tried again, and every later call returns the error.
//
// Lock order: Log.io, then Log.mu. Not promised: that commits survive a crash without a Wait. They survive as
// a prefix of the commit order.
package wal
