package mutant

// What FS_IOC_SHUTDOWN promises.
const (
	// ShutdownCut: the image is written to after a shutdown.
	ShutdownCut Promise = "shutdown-cut"
	// ShutdownLog: LOGFLUSH does not make durable what was done.
	ShutdownLog Promise = "shutdown-log"
)
