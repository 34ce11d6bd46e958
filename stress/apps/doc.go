// Package apps runs real applications on varve's mounts, cuts the power or kills the daemon, and asks each application
// what is left: its tests are all there is of it. An application acknowledges a transaction when its own rules call it
// durable; nothing acknowledged may be missing.
//
//	application ──▶ mount ──▶ daemon ──▶ trace of writes and flushes ──▶ crash states ──▶ recovery ──▶ own check
//	     └── acknowledgements, each with the trace's length when it was heard
package apps
