package mutant

// What the engine promises beside M1 to M8.
const (
	// GroupForget: a group is forgotten although a commit raises it meanwhile, so that SyncGroup does not wait for that commit.
	GroupForget Promise = "group-forget"
	// CommitAfterEnd: a transaction that had begun commits after the store was closed, or its log has failed.
	CommitAfterEnd Promise = "commit-after-end"
	// WaitedChain: a transaction that waited in line reads the chain that the block had before, although a checkpoint has dropped it.
	WaitedChain Promise = "waited-chain"
)
