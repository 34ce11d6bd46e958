package mutant

// Promises of devices.
const (
	// BaseSync: an overlay rests on a base that no flush has covered.
	BaseSync Promise = "base-sync"
	// OverlaySync: two overlapping Syncs of an overlay run at once, so that the second returns before the map is durable.
	OverlaySync Promise = "overlay-sync"
	// SyncError: the error of a flush is reported to the caller whose flush it was alone.
	SyncError Promise = "sync-error"
	// MapChecksum: an overlay's map is believed whatever its checksums.
	MapChecksum Promise = "map-checksum"
	// RecorderLate: the recorder of the crash tests takes a write that met a flush for flushed.
	RecorderLate Promise = "recorder-late"
	// CutShort: lost bytes of a base or an overlay's file are read as zeros.
	CutShort Promise = "cut-short"
)
