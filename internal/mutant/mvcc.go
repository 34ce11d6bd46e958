package mutant

// What the engine promises beside M1 to M8.
const (
	// GroupForget: a group is forgotten although a commit raises it meanwhile, so that SyncGroup does not wait for that commit.
	GroupForget Promise = "group-forget"
	// CommitAfterEnd: a transaction that had begun commits after the store was closed, or its log has failed.
	CommitAfterEnd Promise = "commit-after-end"
)
