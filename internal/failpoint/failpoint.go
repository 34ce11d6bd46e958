// Package failpoint names the moments inside operations at which a test can end the process.
package failpoint

import "sync/atomic"

var hook atomic.Pointer[func(operation, stage string)]

// At says that an operation has come behind a stage. In a program that calls no Set it does nothing.
func At(operation, stage string) {
	if h := hook.Load(); h != nil {
		(*h)(operation, stage)
	}
}

// Set has a function called at each stage of each operation, by whatever goroutine comes there.
func Set(do func(operation, stage string)) { hook.Store(&do) }
