package engine

import (
	"runtime"
	"sync"
	"testing"

	"github.com/varvefs/varve/mvcc"
)

// TestLimit_Failure: no writer takes a commit for durable whose flush failed, also not one that waited for a flush of
// another writer.
func TestLimit_Failure(t *testing.T) {
	e, err := openLimit(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Update(0, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	l := e.(*limit)
	l.file.Close()
	l.flushing = true // as if a flush were under way: all writers wait for it
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = e.Update(i, 0, 0, nil) })
	}
	l.mu.Lock()
	for l.written < 1+uint64(len(errs)) { // until all of them wait
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	l.flushing = false
	l.ended.Broadcast()
	l.mu.Unlock()
	wg.Wait()
	for i, err := range errs {
		if err == nil {
			t.Errorf("writer %d: a commit without a file is durable", i)
		}
	}
}

// TestMap_Update changes one slot and leaves its neighbours alone.
func TestMap_Update(t *testing.T) {
	e, err := Map().Open("", false)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := e.Update(0, 5, 2, func(p []byte) { p[0]++ }); err != nil {
			t.Fatal(err)
		}
	}
	b := e.(*mapEngine).blocks[5].data
	if b[2*Slot] != 3 || b[Slot] != 0 || b[3*Slot] != 0 {
		t.Errorf("slot %v", b[Slot:4*Slot])
	}
}

// TestVarve_Update counts in a slot of varve, under each policy that the suite measures.
func TestVarve_Update(t *testing.T) {
	for _, p := range []mvcc.Policy{mvcc.Strict, mvcc.Merge, mvcc.Wait, mvcc.Adaptive} {
		e, err := Varve(p).Open(t.TempDir(), true)
		if err != nil {
			t.Fatal(err)
		}
		got := byte(0)
		for range 3 {
			if _, err := e.Update(0, 5, 2, func(s []byte) { s[0]++; got = s[0] }); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := e.Close(); got != 3 || n == 0 || err != nil {
			t.Errorf("%v: %d after three additions, %d bytes of log, %v", p, got, n, err)
		}
	}
}
