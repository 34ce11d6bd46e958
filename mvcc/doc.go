// Package mvcc is a transactional store over the blocks of a device: a chain of versions for each changed block,
// snapshots that never wait, and concurrent writers of one block that both commit where package merge proves that they
// may.
//
//	Tx ── edits ──▶ commit ──▶ chain: version ◀─ delta ◀─ delta      (memory)
//	                  │            │ checkpoint, behind the log
//	                  ▼            ▼
//	                 WAL ───────▶ home ◀── cache of clean blocks      (devices)
//
// A commit: latch the chains that it writes, in ascending order; resolve its edits on the newest versions, or
// conflict. Then, under the sequencer's latch: check that what it depends on is unchanged, make the new versions the
// heads of their chains, hand the record to the log, publish. Unlatch.
//
// Invariants:
//
//   - M1: a snapshot never sees half of a commit. It is the published sequence; a commit takes its sequence, installs
//     and publishes in one step, so that no sequence is allocated and not published. Update returns when its own is
//     published.
//   - M2: readers never block. Bytes that were handed out are immutable until their transaction ends.
//   - M3: the first committer wins, unless a proof shows that both may stand.
//   - M4: a transaction's dependencies are validated byte by byte. At Serializable everything that it read is one. They
//     are validated in the step that gives the sequence: two write-skewed transactions cannot validate past each other.
//   - M5: a transaction that lost several races joins the wait queues of its blocks, the oldest first, and then wins.
//   - M6: a version is kept only if a live snapshot sees exactly it.
//   - M7: an error or a cancelled context leaves no trace.
//   - M8: a block without a chain is home, and there what every live snapshot sees.
//   - W2: a block is written home only when the commits in it are durable in the log.
//   - W4: a freed block is handed out again only when its freeing is durable and no snapshot can read it.
//   - E1: of a group (such as an inode): staged >= visible >= durable, each only ever growing.
//
// The parts of a Store: the sequencer, the chain table, wait queues, groups, back-pressure, the checkpointer, the
// collector, and its durability: none, NativeLog or EpochJournal.
//
// Lock order: wait queues in ascending order of blocks, latches in ascending order of blocks, the sequencer, shard.mu,
// the log.
//
// Not promised: that the function given to Update runs once, or that a commit survives a crash before it is durable: a
// prefix of the commit order survives. A transaction is used by one goroutine.
package mvcc
