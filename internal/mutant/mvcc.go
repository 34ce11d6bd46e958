package mutant

// Promises of the engine (package mvcc).
const (
	M1 Promise = "M1" // publishes a commit when one of its blocks is in place
	M2 Promise = "M2" // gives bytes that a reader holds to the next version
	M3 Promise = "M3" // lets every edit stand, whichever transaction committed first
	M4 Promise = "M4" // validates what was read before the step that gives the sequence
	M5 Promise = "M5" // has no transaction wait in a queue after lost races
	M6 Promise = "M6" // keeps versions that no live snapshot sees
	M7 Promise = "M7" // commits what a transaction did before its error
	M8 Promise = "M8" // drops the chain of a block that came home, and leaves an older copy in the cache
)

// Engine is M1 to M8, in order.
var Engine = []Promise{M1, M2, M3, M4, M5, M6, M7, M8}

// Promises of the engine beside M1 to M8.
const (
	// Patience: a file system's writers get an error where a snapshot keeps memory full for long.
	Patience Promise = "patience"
	// GroupForget: a group is forgotten although a commit raises it meanwhile, so that SyncGroup does not wait for that
	// commit.
	GroupForget Promise = "group-forget"
	// CommitAfterEnd: a transaction that had begun commits after the store was closed, or its log has failed.
	CommitAfterEnd Promise = "commit-after-end"
	// WaitedChain: a transaction that waited in a queue reads the chain that the block had before, although a
	// checkpoint has dropped it.
	WaitedChain Promise = "waited-chain"
	// Depends: the dependencies that a transaction declares are not checked.
	Depends Promise = "depends"
	// FreshEdit: a transaction that gave a block new contents reads and edits the old ones.
	FreshEdit Promise = "fresh-edit"
	// HomeFlush: with the native log, what WriteHome wrote is not flushed.
	HomeFlush Promise = "home-flush"
	// FormerLife: after WriteHome, a block is read as it was before it was freed.
	FormerLife Promise = "former-life"
	// FailedHome: a checkpoint after a failed flush of home goes on, and gives up the log.
	FailedHome Promise = "failed-home"
	// EpochFits: an epoch takes more changes than fit in the journal.
	EpochFits Promise = "epoch-fits"
	// FreedSeen: a freed block is given up though it never came home, and an older snapshot reads it.
	FreedSeen Promise = "freed-seen"
	// FreshHome: with the native log, recovery replays what a block was before WriteHome gave it contents.
	FreshHome Promise = "fresh-home"
	// HomeRoom: a home device that was full once has failed for ever.
	HomeRoom Promise = "home-room"
	// PanicTrace: a Sequenced function that panics leaves half of its commit.
	PanicTrace Promise = "panic-trace"
)
