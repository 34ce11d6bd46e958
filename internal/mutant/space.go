package mutant

// A full file system.
const (
	// NodeReserve: no blocks are kept for the nodes that blocks promised by fallocate, and holes, need.
	NodeReserve Promise = "node-reserve"
	// ReservedFor: reserved blocks are for root only, not for s_def_resuid and s_def_resgid.
	ReservedFor Promise = "reserved-for"
	// WritebackRoot: what the kernel writes back is taken for root's, and may be answered short.
	WritebackRoot Promise = "writeback-root"
	// DirectWhole: a direct write for which there is room in part is answered short.
	DirectWhole Promise = "direct-whole"
	// BitmapBound: bitmaps of groups never leave memory.
	BitmapBound Promise = "bitmap-bound"
	// GatheredRoom: with the writeback cache, write(2) goes on where there is no room.
	GatheredRoom Promise = "gathered-room"
	// TrimFreed: a trim discards blocks whose freeing is not durable.
	TrimFreed Promise = "trim-freed"
	// TrimTaken: blocks are given out while they are discarded.
	TrimTaken Promise = "trim-taken"
	// ImpliedCluster: with bigalloc, a file gets a new cluster for a block of a cluster that it has.
	ImpliedCluster Promise = "implied-cluster"
	// SharedCluster: with bigalloc, a cluster is freed although other blocks of it are still mapped.
	SharedCluster Promise = "shared-cluster"
)
