package mutant

// Promises of varve stats and of the sockets of daemons.
const (
	// PrivateDir: the folder of the sockets may belong to another user, or be open to others.
	PrivateDir Promise = "private-dir"
	// ControlPeer: varve stats believes any process that answers.
	ControlPeer Promise = "control-peer"
)
