//go:build testhooks

package yield

import (
	"slices"
	"testing"
	"testing/synctest"
)

// TestAt: each point is reported to the scheduler, in order, while there is one.
func TestAt(t *testing.T) {
	var got []string
	At("before")
	Set(func(point string) { got = append(got, point) })
	At("a")
	At("b")
	Set(nil)
	At("after")
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

// TestMutex_Excludes: one holder at a time, readers too, and testing/synctest takes a waiting goroutine for blocked.
func TestMutex_Excludes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m RWMutex
		inside := 0
		m.Lock()
		for range 3 {
			go func() {
				m.RLock()
				inside++
			}()
		}
		synctest.Wait()
		if inside != 0 {
			t.Fatal("a reader is in while the lock is held")
		}
		m.Unlock()
		for want := 1; want <= 3; want++ {
			synctest.Wait()
			if inside != want {
				t.Fatalf("%d readers are in, expected %d", inside, want)
			}
			m.RUnlock()
		}
	})
}
