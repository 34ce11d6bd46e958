// Package stress runs many concurrent writers against the engine and proves that nothing was lost.
//
//	workload ──▶ writers ──▶ mvcc.Store
//	   │            └── history ──▶ cycles (ours), registers (porcupine)
//	   └── invariant, while running and at the end
//
// Each run has two parts: a short one that records every transaction, whose history is checked, and a longer one that
// is measured. In the first one transactions yield between what they read and their commit, share what they change, and
// checkpoints run beside them. The invariant holds over both parts, and over the end: the store is closed, opened from
// its files, and compared; a durable one is cut off first, so that its log alone has the newest commits. The checkers
// have histories that they must reject (checker_test.go), and each promise of the engine is switched off and must be
// noticed (promises_test.go).
package stress
