package mutant

// What the native log promises.
const (
	// StaleSeal: recovery takes a seal of a recycled segment's former life for damage.
	StaleSeal Promise = "stale-seal"
)
