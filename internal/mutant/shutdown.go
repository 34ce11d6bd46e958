package mutant

// Promises of FS_IOC_SHUTDOWN.
const (
	// ShutdownCut: the image is written to after a shutdown.
	ShutdownCut Promise = "shutdown-cut"
	// ShutdownLog: LOGFLUSH does not make durable what was done.
	ShutdownLog Promise = "shutdown-log"
)
