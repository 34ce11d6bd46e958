//go:build testhooks

package failpoint

import "sync/atomic"

var hook atomic.Pointer[func(operation, stage string)]

// At reports that an operation has passed a stage.
func At(operation, stage string) {
	if h := hook.Load(); h != nil {
		(*h)(operation, stage)
	}
}

// Set has a function called at each stage of each operation, by the goroutine that reaches it.
func Set(do func(operation, stage string)) { hook.Store(&do) }
