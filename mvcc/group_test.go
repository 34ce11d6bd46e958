package mvcc

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// TestStanding: staged >= visible >= durable, and each only ever grows (E1); a flush makes nothing durable, a sync
// does.
func TestStanding(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.OnDemand}}})
	write := func(key uint64) {
		mustUpdate(
			t,
			s,
			func(tx *Tx) error { tx.Group(key); return tx.Edit(block.Number(key), merge.Add(field, 1, 0, most)) },
		)
	}
	write(1)
	write(2)
	if st := s.Standing(1); st.Staged != 1 || st.Visible != 1 || st.Durable != 0 {
		t.Errorf("after a commit: %+v", st)
	}
	if err := s.Flush(); err != nil || s.Standing(2).Durable != 0 {
		t.Errorf("after a flush: %+v, %v", s.Standing(2), err)
	}
	if err := s.SyncGroup(ctx, 2); err != nil || s.Standing(2).Durable != 2 || s.Standing(1).Durable != 1 {
		t.Errorf("after a sync: %+v, %+v, %v", s.Standing(2), s.Standing(1), err)
	}
	for i := range uint64(maxGroups + 100) { // groups are forgotten, and never go back
		if i%5000 == 0 {
			write(i%1000 + 3)
		}
		s.groups.last.LoadOrCompute(1<<32+i, func() *atomic.Uint64 { return new(atomic.Uint64) })
	}
	write(3)
	if st := s.Standing(2); st.Durable < 2 || st.Staged < st.Visible || st.Visible < st.Durable {
		t.Errorf("after forgetting: %+v", st)
	}
	if n := s.groups.last.Size(); n > maxGroups {
		t.Errorf("%d groups are remembered", n)
	}
}

// TestSyncGroup_CoversWhatWasSeen: a caller that has seen a group's commit and then syncs the group finds it durable,
// however soon that is (E1).
func TestSyncGroup_CoversWhatWasSeen(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.OnDemand}}})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				mustUpdate(t, s, func(tx *Tx) error { tx.Group(1); return tx.Edit(1, merge.Add(field, 1, 0, most)) })
			}
		})
	}
	for range 3000 {
		seen := block.Seq(counterOf(t, s, 1)) // each commit adds one: the counter is the sequence
		if err := s.SyncGroup(ctx, 1); err != nil || s.Durable() < seen {
			t.Errorf("commit %d was seen, and a sync ended at %d, %v", seen, s.Durable(), err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}
