package mutant

// The promises of quotas.
const (
	// QuotaOwner: a change of a file's usage does not depend on whose file it is.
	QuotaOwner Promise = "quota-owner"
	// QuotaLimits: limits are not enforced.
	QuotaLimits Promise = "quota-limits"
)
