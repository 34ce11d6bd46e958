package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// forgetful is a device whose next flush fails once: what was written since the last one is lost then, as Linux does
// with pages that it could not write.
type forgetful struct {
	*blockcache.RAM
	flushed []byte
	fails   bool
}

func (f *forgetful) Sync() error {
	if f.fails {
		f.fails = false
		_, _ = f.WriteAt(f.flushed, 0)
		return syscall.EIO
	}
	f.flushed = f.Bytes()
	return nil
}

// TestCheckpoint_AfterFailedFlush: once a flush of home has failed, no later checkpoint takes a flush that succeeds
// for a sign that everything is home, and gives up the log.
func TestCheckpoint_AfterFailedFlush(t *testing.T) {
	ctx := context.Background()
	home, log := &forgetful{RAM: blockcache.NewRAM(make([]byte, 64<<12))}, blockcache.NewRAM(nil)
	if err := home.Sync(); err != nil {
		t.Fatal(err)
	}
	o := Options{
		BlockSize:  4096,
		Home:       home,
		Durability: NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 4 << 10}},
	}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range block.Number(60) {
		if err := s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(n, set(0, 5)) }); err != nil {
			t.Fatal(err)
		}
	}
	home.fails = true
	if err := s.Checkpoint(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the first checkpoint: %v", err)
	}
	if err := s.Checkpoint(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second checkpoint: %v, want the first one's error", err)
	}
	s.Abandon()
	if err := s.Checkpoint(); !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrClosed) {
		t.Errorf("a checkpoint after the end: %v", err)
	}
	s = mustOpen(t, o)
	for n := range block.Number(60) {
		if v := counterOf(t, s, n); v != 5 {
			t.Fatalf("block %d has %d after recovery: a durable commit is lost", n, v)
		}
	}
}

// TestSync_WithoutLog: without a log, a Sync after a failed flush returns the first error.
func TestSync_WithoutLog(t *testing.T) {
	home := &forgetful{RAM: blockcache.NewRAM(make([]byte, 64<<12))}
	s, _, err := Open(Options{BlockSize: 4096, Home: home})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, set(0, 5)) })
	home.fails = true
	for i := range 3 {
		if err := s.Sync(context.Background()); !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync %d: %v, want the first error", i+1, err)
		}
	}
}

// gated is a device whose first write waits.
type gated struct {
	blockcache.Writable
	once     sync.Once
	entered  chan struct{}
	released chan struct{}
	writes   atomic.Int64
}

func (g *gated) WriteAt(p []byte, off int64) (int, error) {
	g.once.Do(func() {
		close(g.entered)
		<-g.released
	})
	g.writes.Add(1)
	return g.Writable.WriteAt(p, off)
}

// TestAbandon_MeetsCheckpoint: when Abandon has returned, a checkpoint that a caller requested writes nothing any
// more: another store may have the device by then.
func TestAbandon_MeetsCheckpoint(t *testing.T) {
	home := &gated{
		Writable: blockcache.NewRAM(make([]byte, 64<<12)),
		entered:  make(chan struct{}),
		released: make(chan struct{}),
	}
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
	for n := range block.Number(3) {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, set(0, 1)) })
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Checkpoint() }()
	<-home.entered
	abandoned := make(chan int64)
	go func() {
		s.Abandon()
		abandoned <- home.writes.Load()
	}()
	select {
	case <-abandoned:
		t.Error("Abandon returned, and the checkpoint goes on")
		abandoned = nil
	case <-time.After(50 * time.Millisecond):
	}
	close(home.released)
	if err := <-ended; err == nil {
		t.Error("the checkpoint of a store that was abandoned returned nil")
	}
	if abandoned == nil {
		return
	}
	if n := <-abandoned; n != 1 || home.writes.Load() != n {
		t.Errorf("%d writes when Abandon returned, %d now, want the one that was under way", n, home.writes.Load())
	}
}

// TestWriteHome_FormerLife: a block that was freed, and gets new contents at home, has these after recovery: what the
// log has of its former life is not replayed.
func TestWriteHome_FormerLife(t *testing.T) {
	home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
	o := Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log,
		Options: wal.Options{Policy: wal.OnDemand}}}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func(tx *Tx) error{
		func(tx *Tx) error { return tx.Edit(7, set(0, 5)) },
		func(tx *Tx) error {
			tx.Free(7)
			return nil
		},
		func(tx *Tx) error { return tx.WriteHome(6, 0, bytes.Repeat([]byte{9}, 2*4096), true) },
	} {
		if err := s.UpdateDurable(context.Background(), do); err != nil {
			t.Fatal(err)
		}
	}
	s.Abandon()
	mustOpen(t, o)
	if p := home.Bytes()[7<<12:]; p[0] != 9 || p[4095] != 9 {
		t.Errorf("after recovery the block begins with %d", p[0])
	}
}

// TestWriteHome_AlmostSameAgain: a block holds metadata, is freed, holds file data, is freed again, and then gets bytes
// that differ in one place from those that it had first. The log has all that home has not.
func TestWriteHome_AlmostSameAgain(t *testing.T) {
	home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
	o := Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log,
		Options: wal.Options{Policy: wal.OnDemand}}}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Repeat([]byte{5}, 4096)
	last := bytes.Clone(first)
	last[100] = 6
	free := func(tx *Tx) error {
		tx.Free(7)
		return nil
	}
	for _, do := range []func(tx *Tx) error{
		func(tx *Tx) error { return tx.Edit(7, merge.Whole(first)) },
		free,
		func(tx *Tx) error { return tx.WriteHome(6, 0, bytes.Repeat([]byte{9}, 2*4096), true) },
		free,
	} {
		mustUpdate(t, s, do)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	err = s.UpdateDurable(context.Background(), func(tx *Tx) error { return tx.Edit(7, merge.Whole(last)) })
	if err != nil {
		t.Fatal(err)
	}
	s.Abandon()
	mustOpen(t, o)
	if p := home.Bytes()[7<<12:][:4096]; !bytes.Equal(p, last) {
		t.Errorf("after recovery the block begins with %d, expected 5", p[0])
	}
}

// TestCheckpoint_HandsOver: while blocks go home, are dropped from memory and come back, every snapshot sees what it
// must (M8).
func TestCheckpoint_HandsOver(t *testing.T) {
	home := blockcache.NewRAM(make([]byte, 64<<12))
	s := mustOpen(
		t,
		Options{
			Home:       home,
			PushBack:   -1,
			Memory:     16 << 12,
			Durability: NativeLog{Options: wal.Options{SegmentSize: 16 << 10, MaxBytes: 128 << 10}},
		},
	)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 9))
			for !stop.Load() {
				a, b := block.Number(rng.IntN(64)), block.Number(rng.IntN(64))
				mustUpdate(t, s, func(tx *Tx) error {
					return errors.Join(
						tx.Edit(a, merge.Add(field, 1, 0, most)),
						tx.Edit(b, merge.Add(merge.Field{Off: 8, Width: 8}, 1, 0, most)),
					)
				})
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			if err := s.Checkpoint(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var last uint64
	for range 400 {
		if err := s.View(ctx, func(tx *Tx) error {
			var x, y uint64
			for n := range block.Number(64) {
				x, y = x+at(t, tx, n, 0), y+at(t, tx, n, 8)
			}
			if x != y || x < last || x != uint64(tx.Seq()) {
				return fmt.Errorf("snapshot %d has %d and %d, after %d", tx.Seq(), x, y, last)
			}
			last = x
			return nil
		}); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	s.Collect()
	if st := s.Stats(); st.Chains != 0 {
		t.Errorf("%d chains are left when all is home", st.Chains)
	}
}

// TestCheckpoint_DropsUnchanged: chains of blocks that transactions only checked, or lost, go as well.
func TestCheckpoint_DropsUnchanged(t *testing.T) {
	s := mustOpen(t, Options{})
	for n := range block.Number(50) {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, merge.Check(func([]byte) bool { return true })) })
		a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
		mustEdit(t, a, 100, set(0, 2*uint64(n)+1))
		mustEdit(t, b, 100, set(0, 2*uint64(n)+2))
		mustEdit(t, b, 200+n, set(0, 1))
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); !errors.Is(err, ErrConflict) {
			t.Fatal(err)
		}
	}
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	s.Collect()
	if n := s.Stats().Chains; n != 0 {
		t.Errorf("%d chains are left", n)
	}
}
