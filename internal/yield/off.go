//go:build !testhooks

package yield

import "sync"

// At lets a scheduler decide who runs next: there is none, in a normal build.
func At(point string) {}

// Mutex and RWMutex are those of package sync. They are held across points at which a test's scheduler may park their
// holder.
type (
	Mutex   = sync.Mutex
	RWMutex = sync.RWMutex
)
