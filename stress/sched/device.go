//go:build testhooks

package sched

import (
	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/yield"
)

// Device is a device whose writes and flushes take their time: others go on before each, and before a flush returns.
type Device struct {
	blockcache.Writable
	name string
}

// NewDevice wraps a device.
func NewDevice(d blockcache.Writable, name string) Device { return Device{d, name} }

// WriteAt follows io.WriterAt.
func (d Device) WriteAt(p []byte, off int64) (int, error) {
	yield.At(d.name + " write")
	return d.Writable.WriteAt(p, off)
}

// Sync follows Writable.
func (d Device) Sync() error {
	yield.At(d.name + " flush")
	err := d.Writable.Sync()
	yield.At(d.name + " flushed")
	return err
}
