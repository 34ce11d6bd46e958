package blockcache

import "io"

// Writable is a Device that can be changed. Calls may be concurrent; writes that overlap are ordered by their caller.
type Writable interface {
	Device
	io.WriterAt
	// Sync makes every write that returned before the call durable. After an error it is unknown what is durable: Disk
	// and Overlay give the same error to each later call.
	Sync() error
}

// Reserver is a device that can get room for bytes before they are written.
type Reserver interface {
	// Reserve has a later write of so many bytes at offset find room, where the device can promise that. It changes
	// neither contents nor sizes.
	Reserve(offset, n int64) error
}

// Reserve asks a device to reserve, if it can.
func Reserve(d Device, offset, n int64) error {
	if r, ok := d.(Reserver); ok {
		return r.Reserve(offset, n)
	}
	return nil
}
