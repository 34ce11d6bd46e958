package mutant

// Conditions of proofs.
const (
	// Relocation: an edit into the transaction's own appended record stays where the record was, although that has moved.
	Relocation Promise = "relocation"
	// ReappliedPlace: an edit stands after a reapply that did something else on the newest bytes.
	ReappliedPlace Promise = "reapplied-place"
	// EqualBytes: two sets of equal bytes both stand, also where each was computed from what was there.
	EqualBytes Promise = "equal-bytes"
	// FailedEdit: at Serializable, an edit that failed, and the place of an append, are no reads.
	FailedEdit Promise = "failed-edit"
	// EverySet: every set stands.
	EverySet Promise = "every-set"
	// EveryExtent: every extent stands.
	EveryExtent Promise = "every-extent"
	// EveryWhole: every whole block stands.
	EveryWhole Promise = "every-whole"
	// AddBounds: an addition stands wherever its sum lies.
	AddBounds Promise = "add-bounds"
	// MaxLowers: a max writes its values although they are smaller.
	MaxLowers Promise = "max-lowers"
	// EveryCheck: every check stands.
	EveryCheck Promise = "every-check"
	// BitsAsserted: bits are set and cleared with any value.
	BitsAsserted Promise = "bits-asserted"
)
