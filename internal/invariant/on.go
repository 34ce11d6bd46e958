//go:build invariants

package invariant

// On says whether the engine checks its invariants while it runs (-tags invariants).
const On = true
