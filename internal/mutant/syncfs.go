package mutant

// Promises of a mount with -o syncfs.
const (
	// SyncFS: syncfs(2) returns before anything is durable.
	SyncFS Promise = "syncfs-durable"
	// UmountWaits: umount(2) returns before the image is released.
	UmountWaits Promise = "umount-waits"
)
