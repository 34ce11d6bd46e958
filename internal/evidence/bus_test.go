package evidence

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/mvcc"
)

// TestBus_ListensOnDemand: a bus without sinks asks for nothing; with some, each gets every event.
func TestBus_ListensOnDemand(t *testing.T) {
	b := new(Bus)
	b.Observe(mvcc.Event{Kind: mvcc.EventCommit})
	if b.Listening() {
		t.Error("a bus without sinks listens")
	}
	first, second := NewTail(8), NewTail(8)
	detach := b.Attach(first)
	detachSecond := b.Attach(second)
	if !b.Listening() {
		t.Error("a bus with sinks does not listen")
	}
	b.Observe(mvcc.Event{Kind: mvcc.EventCommit, Seq: 1})
	detach()
	b.Observe(mvcc.Event{Kind: mvcc.EventCommit, Seq: 2})
	detachSecond()
	if b.Listening() {
		t.Error("a bus listens after its last sink")
	}
	for _, c := range []struct {
		tail *Tail
		want int
	}{{first, 1}, {second, 2}} {
		if got, err := c.tail.Next(t.Context(), nil); err != nil || len(got) != c.want || got[0].Seq != 1 {
			t.Errorf("%v, %v: want %d records", got, err, c.want)
		}
	}
}

// TestTail_LosesTheOldest: a reader that is slow gets the newest records, and the number of those that it has lost.
func TestTail_LosesTheOldest(t *testing.T) {
	tail := NewTail(4)
	for n := range uint64(10) {
		tail.Take(Record{Event: "commit", Seq: n})
	}
	got, err := tail.Next(t.Context(), nil)
	if err != nil || len(got) != 5 || got[0].Event != EventDropped || got[0].Count != 6 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, r := range got[1:] {
		if r.Seq != uint64(6+i) {
			t.Errorf("record %d is that of commit %d", i, r.Seq)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got, err := tail.Next(ctx, nil); !errors.Is(err, context.DeadlineExceeded) || len(got) != 0 {
		t.Errorf("an empty tail: %+v, %v", got, err)
	}
}

// TestTail_Concurrent: what writers put in comes out, or is counted as lost.
func TestTail_Concurrent(t *testing.T) {
	const writers, each = 4, 2000
	tail := NewTail(64)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		var w sync.WaitGroup
		for range writers {
			w.Go(func() {
				for range each {
					tail.Take(Record{Event: "commit"})
				}
			})
		}
		w.Wait()
	}()
	total := int64(0)
	for {
		got, err := tail.Next(ctx, nil)
		for _, r := range got {
			total += max(r.Count, 1)
		}
		if err != nil && len(got) == 0 {
			break
		}
	}
	if total != writers*each {
		t.Errorf("%d of %d records", total, writers*each)
	}
}
