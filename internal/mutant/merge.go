package mutant

// What proofs look at.
const (
	// Relocation: an edit into the transaction's own appended record stays where the record was, although that has moved.
	Relocation Promise = "relocation"
	// EqualBytes: two sets of equal bytes both stand, also where each was computed from what was there.
	EqualBytes Promise = "equal-bytes"
	// FailedEdit: at Serializable, an edit that failed, and the place of an append, are no reads.
	FailedEdit Promise = "failed-edit"
)
