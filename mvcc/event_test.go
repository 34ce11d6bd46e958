package mvcc

import (
	"context"
	"sync"
	"testing"

	"github.com/varvefs/varve/merge"
)

// TestEvent_Block has a conflict, an abort and a sample name the block that they are of, or none: block 0 is a block
// as others are.
func TestEvent_Block(t *testing.T) {
	var mu sync.Mutex // the collector emits samples, too
	var got []Event
	s := mustOpen(t, Options{Observer: ObserverFunc(func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	})})
	ctx := context.Background()
	s.events.emit(s.contentionSample())
	set := func(n int64) func(*Tx) error {
		return func(tx *Tx) error { return tx.Edit(5, merge.Add(merge.Field{Width: 8}, n, 0, 1<<62)) }
	}
	first := true
	err := s.Update(ctx, func(tx *Tx) error {
		if _, err := tx.ReadBlock(5); err != nil {
			return err
		}
		if err := tx.Depend(5, merge.Range{Off: 0, Len: 8}); err != nil {
			return err
		}
		if first {
			first = false
			if err := s.Update(ctx, set(1)); err != nil {
				return err
			}
		}
		return tx.Edit(6, merge.Set(0, []byte{1}))
	})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	kinds := map[EventKind]int{}
	for _, e := range got {
		switch e.Kind {
		case EventContention:
			if e.Count == 0 && !e.NoBlock {
				t.Errorf("a sample without conflicts names block %d", e.Block)
			}
		case EventConflict, EventAbort:
			if e.NoBlock || e.Block != 5 {
				t.Errorf("%s: %+v; expected block 5", e.Kind, e)
			}
		}
		kinds[e.Kind]++
	}
	if kinds[EventContention] == 0 || kinds[EventConflict] != 1 || kinds[EventAbort] != 1 {
		t.Errorf("events: %v", kinds)
	}
}
