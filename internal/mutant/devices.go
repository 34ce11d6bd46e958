package mutant

// What devices promise.
const (
	// OverlaySync: two overlapping Syncs of an overlay run at once, so that the second returns before the map is durable.
	OverlaySync Promise = "overlay-sync"
)
