package mutant

// What varve stats and the sockets of daemons promise.
const (
	// PrivateDir: the folder of the sockets may belong to somebody else, or be open to others.
	PrivateDir Promise = "private-dir"
	// ControlPeer: varve stats believes whoever answers.
	ControlPeer Promise = "control-peer"
)
