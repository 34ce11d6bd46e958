package mvcc

import (
	"slices"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// granted reports whether a waiter's turn has come.
func granted(grant chan struct{}) bool {
	select {
	case <-grant:
		return true
	default:
		return false
	}
}

// TestWaitQueues_Order: the oldest waiter is next in any order of arrival, and only the holder may commit the
// block.
func TestWaitQueues_Order(t *testing.T) {
	var w waitQueues
	w.init()
	if !w.mayCommit(9, 3) {
		t.Error("a block without a queue is held")
	}
	q, grant := w.join(3, 5)
	if grant != nil || w.count.Load() != 1 {
		t.Fatalf("the first of a queue waits; %d queues", w.count.Load())
	}
	grants := map[uint64]chan struct{}{}
	for _, priority := range []uint64{30, 10, 20, 2} {
		same, grant := w.join(3, priority)
		if same != q || grant == nil {
			t.Fatalf("priority %d does not wait in the same queue", priority)
		}
		grants[priority] = grant
	}
	if !w.mayCommit(5, 3) || w.mayCommit(2, 3) || !w.mayCommit(2, 4) {
		t.Error("the holder may not commit, or a waiter may, or another block is held")
	}
	var order []uint64
	for range len(grants) {
		w.leave(q)
		for priority, grant := range grants {
			if granted(grant) {
				order = append(order, priority)
				if !w.mayCommit(priority, 3) {
					t.Errorf("priority %d has its turn, and may not commit", priority)
				}
			}
		}
	}
	if !slices.Equal(order, []uint64{2, 10, 20, 30}) {
		t.Errorf("the turns went to %v", order)
	}
	w.leave(q)
	if w.count.Load() != 0 || !w.mayCommit(7, 3) {
		t.Errorf("%d queues are left", w.count.Load())
	}
}

// TestWaitQueues_Abort: a waiter that gives up leaves the others their order; one that was granted meanwhile hands its
// turn on.
func TestWaitQueues_Abort(t *testing.T) {
	var w waitQueues
	w.init()
	q, _ := w.join(3, 1)
	_, second := w.join(3, 2)
	_, third := w.join(3, 3)
	w.abort(q, 2)
	w.leave(q)
	if granted(second) || !granted(third) {
		t.Fatal("the turn went to the waiter that gave up")
	}
	_, fourth := w.join(3, 4)
	w.abort(q, 3) // it was granted, and its context ended at the same time
	if !granted(fourth) {
		t.Error("the turn of a waiter that gave up is lost")
	}
	w.abort(q, 4)
	if w.count.Load() != 0 {
		t.Errorf("%d queues are left", w.count.Load())
	}
}

// TestWaitQueues_Priorities: an earlier first snapshot is an earlier priority, and no two are the same.
func TestWaitQueues_Priorities(t *testing.T) {
	var w waitQueues
	late := w.newPriority(8)
	seen := map[uint64]bool{}
	for range 1000 {
		p := w.newPriority(7)
		if p >= late || p == 0 || seen[p] {
			t.Fatalf("priority %d of snapshot 7, %d of snapshot 8, seen before: %v", p, late, seen[p])
		}
		seen[p] = true
	}
}

// TestQueueFor_Ascending: the queues of the next attempt are in ascending order, each once.
func TestQueueFor_Ascending(t *testing.T) {
	var a attempts
	for _, n := range []block.Number{5, 1, 9, 5, 1, 0} {
		a.queueFor(n)
	}
	if !slices.Equal(a.queues, []block.Number{0, 1, 5, 9}) {
		t.Errorf("%v", a.queues)
	}
}
