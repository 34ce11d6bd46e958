package mutant

// Promises of the FUSE front.
const (
	// DirectSync: a direct write to a file opened with O_SYNC or O_DSYNC returns before it is durable.
	DirectSync Promise = "direct-sync"
	// ForgetCount: a FORGET of any count is taken for the last one.
	ForgetCount Promise = "forget-count"
	// ListingCount: entries of READDIRPLUS are not counted as lookups.
	ListingCount Promise = "listing-count"
	// ListingOrder: a directory that changes is listed by the places of its entries.
	ListingOrder Promise = "listing-order"
	// SeekPages: a search for data does not see what the page cache holds.
	SeekPages Promise = "seek-pages"
	// SyncSignal: an fsync fails with EINTR for any signal.
	SyncSignal Promise = "sync-signal"
)
