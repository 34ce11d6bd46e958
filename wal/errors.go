package wal

import "errors"

// Errors of a log. Errors of the devices are wrapped beside them.
var (
	// ErrNewer: a newer program wrote the log; nothing was changed.
	ErrNewer = errors.New("the log has a newer format")
	// ErrForeign: the log belongs to another image; nothing was changed.
	ErrForeign = errors.New("the log belongs to another image")
	// ErrCorrupt: the log is damaged in a way that no crash explains; nothing was changed.
	ErrCorrupt = errors.New("the log is damaged in a way that no crash explains")
	// ErrJournalVersion: the journal's format is too old to write.
	ErrJournalVersion = errors.New("the journal has the format of version 1")
	// ErrFull: the log has reached its bound, because checkpoints do not keep up. It ends a Log.
	ErrFull = errors.New("the log is full")
	// ErrNoRoom: the device has no room for more of the log. It ends nothing: what was not written stays in memory, and a
	// later call writes it. A log whose commits are appended only where Fits says so never gives it for them.
	ErrNoRoom = errors.New("there is no room to extend the log")
	// ErrTooLarge: a record is larger than a segment. It ends a Log that has to write such a record.
	ErrTooLarge = errors.New("the transaction is too large for the log")
	// ErrClosed: the log was closed or abandoned.
	ErrClosed = errors.New("the log is closed")
)
