package mutant

// File systems without a journal.
const (
	// Unclean: a mounted file system without a journal says that it is clean.
	Unclean Promise = "unclean"
	// UnloggedData: without a journal metadata may be there before the data that it points at.
	UnloggedData Promise = "unlogged-data"
	// UnloggedFlush: without a journal an epoch is not flushed.
	UnloggedFlush Promise = "unlogged-flush"
	// UnloggedOrphans: without a journal the image has a list of orphans.
	UnloggedOrphans Promise = "unlogged-orphans"
	// UnloggedOrder: without a journal a directory may lose the entries that moved into a new block before that has them.
	UnloggedOrder Promise = "unlogged-order"
	// LogApart: with the log on another device, what was written home is not flushed before a commit.
	LogApart Promise = "log-apart"
	// LogDamage: damage in the middle of a log beside an image is taken for its end.
	LogDamage Promise = "log-damage"
	// LogMark: nothing in an image says that its newest blocks are in a log beside it.
	LogMark Promise = "log-mark"
)
