package mvcc

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// TestCommit_AfterEnd: a transaction that began before the store was closed, or its log failed, does not commit.
func TestCommit_AfterEnd(t *testing.T) {
	for name, end := range commitEnds {
		t.Run(name, func(t *testing.T) {
			if err := commitAfter(t, end); err == nil {
				t.Error("the commit returned nil")
			}
		})
	}
}

// commitEnds are the ways in which a store ends while a transaction is open.
var commitEnds = map[string]func(s *Store, log *blockcache.Faulty){
	"closed":    func(s *Store, _ *blockcache.Faulty) { _ = s.Close() },
	"abandoned": func(s *Store, _ *blockcache.Faulty) { s.Abandon() },
	"a failed flush": func(s *Store, log *blockcache.Faulty) {
		log.Fail(blockcache.FlushError, 0, true)
		_ = s.UpdateDurable(context.Background(), func(tx *Tx) error { return tx.Edit(1, set(0, 1)) })
	},
}

// commitAfter begins a transaction, ends the store, and commits.
func commitAfter(t *testing.T, end func(*Store, *blockcache.Faulty)) error {
	t.Helper()
	log := blockcache.NewFaulty(blockcache.NewRAM(nil))
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 16<<12)),
			Durability: NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand}},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	tx, err := s.Begin(context.Background(), TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := tx.Edit(3, set(0, 7)); err != nil {
		t.Fatal(err)
	}
	end(s, log)
	return tx.Commit()
}

// TestCommit_InDoubt: a durable commit whose flush fails, or whose context ends, says that it is visible and may not
// be durable.
func TestCommit_InDoubt(t *testing.T) {
	log := blockcache.NewFaulty(blockcache.NewRAM(nil))
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 16<<12)),
			Durability: NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand}},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	log.Fail(blockcache.FlushError, 0, true)
	err = s.UpdateDurable(context.Background(), func(tx *Tx) error { return tx.Edit(1, set(0, 1)) })
	if !errors.Is(err, ErrInDoubt) {
		t.Errorf("a commit whose flush failed: %v, want ErrInDoubt", err)
	}
	if err := s.Sync(context.Background()); err == nil {
		t.Error("a Sync after a failed flush returned nil")
	}
	if err := s.Close(); err == nil {
		t.Error("Close after a failed flush returned nil")
	}
}

// TestGroups_ForgetMeetsCommit: a group is not forgotten while a commit raises it.
func TestGroups_ForgetMeetsCommit(t *testing.T) {
	var g groups
	g.init()
	g.raise(1, 5)
	g.raise(2, 6)
	g.forget(5)
	if g.floor.Load() != 5 {
		t.Errorf("the floor is %d, want 5", g.floor.Load())
	}
	if _, ok := g.last.Load(1); ok {
		t.Error("a group whose commits are durable is remembered")
	}
	if last, ok := g.last.Load(2); !ok || last.Load() != 6 {
		t.Error("a group with a commit that is not durable was forgotten")
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				g.forget(1 << 40)
			}
		}
	}()
	for seq := uint64(10); seq < 200_000; seq++ {
		g.raise(3, 1<<41+seq) // never durable
		if last, ok := g.last.Load(3); !ok || last.Load() != 1<<41+seq {
			t.Fatalf("commit %d of the group was forgotten", seq)
		}
		g.raise(4, seq) // durable at once: forgotten again and again
		last, ok := g.last.Load(4)
		if v := uint64(0); g.floor.Load() < seq {
			if ok {
				v = last.Load()
			}
			if v < seq || v == forgotten && g.floor.Load() < seq {
				t.Fatalf("commit %d: counter %d, floor %d", seq, v, g.floor.Load())
			}
		}
	}
	close(stop)
	<-done
}

// TestGroups_Bound: very many groups that are not durable do not cost each commit a look at all of them.
func TestGroups_Bound(t *testing.T) {
	var g groups
	g.init()
	for key := range uint64(maxGroups + 1) {
		g.raise(key, 100)
	}
	g.forgetSome(1) // none can be forgotten
	if got, want := g.limit.Load(), int64(2*(maxGroups+1)); got != want {
		t.Errorf("the next look comes at %d groups, want %d", got, want)
	}
	g.raise(maxGroups+2, 100)
	g.limit.Store(maxGroups)
	g.forgetSome(100)
	if n := g.last.Size(); n != 0 {
		t.Errorf("%d groups are left, and all are durable", n)
	}
}

// TestWriteNew_ThenEdit: a block that was given new contents is read and edited as it is then, and goes home so.
func TestWriteNew_ThenEdit(t *testing.T) {
	home := blockcache.NewRAM(make([]byte, 16<<12))
	s := mustOpen(t, Options{Home: home, Durability: NativeLog{Device: blockcache.NewRAM(nil)}})
	fresh := make([]byte, 4096)
	fresh[100] = 9
	mustUpdate(t, s, func(tx *Tx) error {
		if err := tx.WriteNew(5, fresh); err != nil {
			return err
		}
		p, err := tx.ReadBlock(5)
		if err != nil || p[100] != 9 {
			t.Errorf("after WriteNew the block reads %d, %v", p[100], err)
		}
		if err := tx.Edit(5, merge.Set(0, []byte{1, 2})); err != nil {
			return err
		}
		q := make([]byte, 101)
		if err := tx.ReadRange(5, 0, q); err != nil || q[1] != 2 || q[100] != 9 {
			t.Errorf("after Edit: %d, %d, %v", q[1], q[100], err)
		}
		if err := tx.Edit(6, set(0, 1)); err != nil {
			return err
		}
		if err := tx.WriteNew(6, fresh); !errors.Is(err, ErrEdited) {
			t.Errorf("WriteNew of an edited block: %v, want ErrEdited", err)
		}
		return nil
	})
	if fresh[0] != 0 {
		t.Error("the caller's bytes were changed")
	}
	if p := home.Bytes()[5<<12:]; p[0] != 1 || p[1] != 2 || p[100] != 9 {
		t.Errorf("home has %d %d %d", p[0], p[1], p[100])
	}
}

// TestWriteHome_NativeLog: what WriteHome wrote is flushed with the commit's epoch, overwrites too.
func TestWriteHome_NativeLog(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		tr := &blockcache.Trace{}
		home := blockcache.Record(blockcache.NewRAM(make([]byte, 16<<12)), tr, 0)
		s, _, err := Open(
			Options{
				BlockSize:  4096,
				Home:       home,
				Durability: NativeLog{Device: blockcache.NewRAM(nil), Options: wal.Options{Policy: wal.OnDemand}},
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		before := len(tr.Events())
		if err := s.UpdateDurable(context.Background(), func(tx *Tx) error {
			return tx.WriteHome(4, 10, []byte("contents"), ordered)
		}); err != nil {
			t.Fatal(err)
		}
		events := tr.Events()[before:]
		if len(events) != 2 || !events[1].Covers(events[0]) {
			t.Errorf("ordered %v: a durable commit, and %d events at home: the write is not flushed", ordered, len(events))
		}
		s.Abandon()
		s.Abandon()
	}
}

// TestCollect_IdleSnapshot: chains that an idle snapshot keeps are not looked at in each round, and go when it ends.
func TestCollect_IdleSnapshot(t *testing.T) {
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 256<<12)), Memory: 64 << 20})
	tx, err := s.Begin(context.Background(), TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for n := range block.Number(200) {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, set(0, 1)) })
	}
	for range 3 {
		s.collector.once(false)
	}
	pending := 0
	for i := range s.chains.shards {
		s.chains.shards[i].mu.Lock()
		pending += len(s.chains.shards[i].history)
		s.chains.shards[i].mu.Unlock()
	}
	if pending > 0 {
		t.Errorf("%d chains are looked at in each round", pending)
	}
	if s.chains.historyCount.Load() == 0 {
		t.Error("the snapshot keeps nothing")
	}
	tx.Rollback()
	for deadline := time.Now().Add(5 * time.Second); s.chains.historyCount.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d versions are left after the snapshot ended", s.chains.historyCount.Load())
		}
	}
}

// BenchmarkCommit_ManyBlocks is a transaction that reads and changes very many blocks: its time grows with their
// number.
func BenchmarkCommit_ManyBlocks(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 40_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s, _, err := Open(Options{BlockSize: 1024, Home: blockcache.NewRAM(make([]byte, n*1024)), Memory: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Abandon()
			for b.Loop() {
				err := s.Update(context.Background(), func(tx *Tx) error {
					for i := range n {
						if err := tx.Edit(block.Number(i), set(0, 1)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/block")
		})
	}
}
