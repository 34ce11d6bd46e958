package blockcache

import "io"

// Device is the source of blocks. ReadAt may be called concurrently.
type Device interface {
	io.ReaderAt
	// Size is the device's length in bytes.
	Size() int64
}

// Mapped is a Device whose bytes lie in memory.
type Mapped interface {
	Device
	// Slice returns the n bytes at offset without copying them, or nil where they are not all mapped. The bytes may
	// only be handed to system calls: where the file behind them was cut short, or its medium fails, touching them
	// from Go ends the process, while a system call returns EFAULT.
	Slice(offset int64, n int) []byte
}

// Syncer is a Device whose contents may be newer than what is durable: another program, which may have been killed,
// has written them.
type Syncer interface {
	// Sync makes the contents durable.
	Sync() error
}

// Adviser is a Device that takes advice on coming reads.
type Adviser interface {
	// Advise starts to read n bytes at offset into the operating system's cache, and does not wait for them.
	Advise(offset, n int64)
}
