// Package merge proves that two transactions' changes of one block may both stand, and makes the block that results.
//
// A transaction changes a block by typed edits. Each type carries its own reason why it may be repeated on bytes that
// another transaction changed meanwhile; a caller never asserts one.
//
//	base ──── theirs ────▶ newest
//	  │                       │
//	  └─ mine (checked here)  └─ mine, run again ──▶ result
//
//	edit       stands when, on the newest bytes,               proof
//	set        its range is as in base; of a blind one also    independent keys
//	           where it has the same bytes already
//	extent     as set, for ranges of blocks                    non-overlapping extents
//	append     there is room left; it goes after the others    append-only
//	add        the sum stays within the bounds                 counters
//	max        always                                          timestamp-only
//	bits       each bit still is what it was asserted to be    bits
//	check      the predicate holds                             check
//	reapply    the function succeeds                           reapply
//	whole      nothing changed                                 (none: unsafe)
//
// Invariants:
//
//   - M4: a result that Resolve accepts equals running theirs, then mine. Proofs cover what an edit itself looks at;
//     what a transaction read to decide on its edits is declared to the store (package mvcc, Depend) and compared with
//     Unchanged.
//   - A later edit of one transaction never weakens an earlier one: every edit's own condition must hold. A set after
//     an append or a reapply of the same transaction may have been computed from where those landed, so it stands on an
//     unchanged block only. Any other edit into what they wrote stands only where they landed as the transaction saw it
//     (relocate.go).
//   - Edit time and commit time use the same code, Apply, for the effect of an edit.
//
// Everything is pure: no input or output, no clock, no lock, and no allocation beyond the result. Not promised: that
// an append, a check or a reapply gives the same bytes in either order of the two transactions. Integers in a block
// are little-endian.
package merge
