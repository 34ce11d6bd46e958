//go:build testhooks

package mutant

import (
	"os"
	"sync/atomic"
)

var off atomic.Pointer[Promise]

// A program that a test starts is given the promise to switch off in its environment.
func init() { Switch(Promise(os.Getenv("VARVE_MUTANT"))) }

// Off reports whether a promise is switched off.
func Off(p Promise) bool {
	o := off.Load()
	return o != nil && *o == p
}

// Any reports whether any promise is switched off.
func Any() bool { return off.Load() != nil }

// Switch switches one promise off, and every other one on. Switch(None) switches all on.
func Switch(p Promise) {
	if p == None {
		off.Store(nil)
		return
	}
	off.Store(&p)
}
