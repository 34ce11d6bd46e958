//go:build testhooks

package yield

import "sync/atomic"

var hook atomic.Pointer[func(point string)]

// At lets a scheduler decide who runs next. The caller may hold a Mutex of this package, and no other lock.
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

// Mutex is a lock for which a goroutine waits at a channel: testing/synctest takes it for blocked then, which it does
// not for a sync.Mutex.
type Mutex struct{ place atomic.Pointer[chan struct{}] }

func (m *Mutex) channel() chan struct{} {
	if p := m.place.Load(); p != nil {
		return *p
	}
	c := make(chan struct{}, 1)
	if m.place.CompareAndSwap(nil, &c) {
		return c
	}
	return *m.place.Load()
}

// Lock follows sync.Mutex.
func (m *Mutex) Lock() { m.channel() <- struct{}{} }

// Unlock follows sync.Mutex.
func (m *Mutex) Unlock() { <-m.channel() }

// RWMutex lets one reader in at a time.
type RWMutex struct{ Mutex }

// RLock follows sync.RWMutex.
func (m *RWMutex) RLock() { m.Lock() }

// RUnlock follows sync.RWMutex.
func (m *RWMutex) RUnlock() { m.Unlock() }
