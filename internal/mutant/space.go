package mutant

// A full file system.
const (
	// NodeReserve: no blocks are kept for the nodes that blocks promised by fallocate, and holes, need.
	NodeReserve Promise = "node-reserve"
	// ReservedFor: reserved blocks are for root only, not for s_def_resuid and s_def_resgid.
	ReservedFor Promise = "reserved-for"
)
