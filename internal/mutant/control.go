package mutant

// What varve stats and the sockets of daemons promise.
const (
	// PrivateDir: the folder of the sockets may belong to another user, or be open to others.
	PrivateDir Promise = "private-dir"
	// ControlPeer: varve stats believes any process that answers.
	ControlPeer Promise = "control-peer"
)
