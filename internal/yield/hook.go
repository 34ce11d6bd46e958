//go:build testhooks

package yield

import "sync/atomic"

var hook atomic.Pointer[func(point string)]

// At lets a scheduler decide who runs next. The caller may hold no sync.Mutex that another goroutine could want meanwhile.
func At(point string) {
	if h := hook.Load(); h != nil {
		(*h)(point)
	}
}

// Set installs a scheduler; nil removes it.
func Set(do func(point string)) {
	if do == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&do)
}
