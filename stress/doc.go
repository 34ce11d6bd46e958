// Package stress runs many concurrent writers against the engine and proves that nothing was lost.
//
//	workload ──▶ writers ──▶ mvcc.Store
//	   │            └── history ──▶ cycles (ours), registers (porcupine)
//	   └── invariant, while running and at the end
//
// Each run has two parts: a short one that records every transaction, whose history is checked, and a longer one that is
// measured. The invariant holds over both. The checkers have histories that they must reject (checker_test.go).
package stress
