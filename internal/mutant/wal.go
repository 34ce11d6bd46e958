package mutant

// Promises of the native log.
const (
	// StaleEnd: recovery takes the end record of a recycled segment's former life for damage.
	StaleEnd Promise = "stale-end"
	// RevokeAll: an epoch needs room for a revoke of each block that it frees, logged or not.
	RevokeAll Promise = "revoke-all"
	// JournalErrno: a journal that an error has ended records nothing of it, and no mount looks.
	JournalErrno Promise = "journal-errno"
	// ForeignEnd: a segment of the log may follow another segment than the one before it.
	ForeignEnd Promise = "foreign-end"
	// LogRoom: a log that found no room once has failed for ever.
	LogRoom Promise = "log-room"
	// SpareRoom: commits take the last place of a log that cannot grow, and opening such a log needs another one.
	SpareRoom Promise = "spare-room"
	// WaitContext: who waits for a flush waits on when its context has ended.
	WaitContext Promise = "wait-context"
	// RottedSlot: an older control block counts, though the log has commits of a newer incarnation.
	RottedSlot Promise = "rotted-slot"
	// ClosingMark: closing a log does not note how far it was flushed.
	ClosingMark Promise = "closing-mark"
	// RecoveryFlush: recovery writes home what it read from a log that no flush has covered.
	RecoveryFlush Promise = "recovery-flush"
	// FastPlace: the journal is emptied before the changes of fast commits are in it.
	FastPlace Promise = "fast-place"
	// StaleFast: fast commits of an earlier sequence stay behind the log.
	StaleFast Promise = "stale-fast"
	// LogZeros: the log is written as zeros.
	LogZeros Promise = "log-zeros"
)
