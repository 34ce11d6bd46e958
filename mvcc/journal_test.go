package mvcc_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/enginetest"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// hooked is a device that calls functions before it writes at offsets.
type hooked struct {
	blockcache.Writable
	hooks map[int64]func()
}

func (h *hooked) WriteAt(p []byte, off int64) (int, error) {
	if hook := h.hooks[off]; hook != nil {
		hook()
	}
	return h.Writable.WriteAt(p, off)
}

const (
	sealedBlock  = block.Size(1024)
	sealedBlocks = 64
)

// sealedStore is a store of 64 blocks with a journal of 128 behind them. Its sealer seals block 5 in every epoch.
func sealedStore(t *testing.T, dev *hooked, every time.Duration) *mvcc.Store {
	t.Helper()
	seal := func(e *mvcc.ClosingEpoch) error {
		p, err := e.Image(5)
		if err == nil {
			p[1000]++ // a sealed field
		}
		return err
	}
	return enginetest.Open(t, mvcc.Options{BlockSize: sealedBlock, Home: dev, Durability: mvcc.EpochJournal{
		Journal: enginetest.Journal(t, dev, sealedBlock, sealedBlocks, 128), Every: every, Seal: seal}})
}

// TestSealed_CheckpointMeetsEpoch has an epoch close in the middle of a checkpoint, and seal a block anew that waits
// to be written home: what commits had changed of it must not be lost from sight. It once was, when a chain was
// dropped whose image had been passed over.
func TestSealed_CheckpointMeetsEpoch(t *testing.T) {
	ctx := context.Background()
	dev := &hooked{Writable: blockcache.NewRAM(make([]byte, 1<<20))}
	s := sealedStore(t, dev, time.Hour)
	set := func(n block.Number, v byte) {
		t.Helper()
		if err := s.Update(ctx, func(tx *mvcc.Tx) error { return tx.Edit(n, merge.Set(10, []byte{v})) }); err != nil {
			t.Fatal(err)
		}
	}
	set(3, 1)
	set(4, 1)
	set(5, 7)
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	pause := func() { time.Sleep(30 * time.Millisecond) }
	dev.hooks = map[int64]func(){
		sealedBlock.Offset(3): func() { // blocks 3 and 4 go home before block 5
			go func() {
				err := s.Update(ctx, func(tx *mvcc.Tx) error { return tx.Edit(9, merge.Set(0, []byte{1})) })
				if err == nil {
					err = s.Sync(ctx)
				}
				closed <- err
			}()
			pause() // the epoch has come to where it waits for the block that is being written
		},
		sealedBlock.Offset(4): pause,
	}
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	err := s.View(ctx, func(tx *mvcc.Tx) error {
		p, err := tx.ReadBlock(5)
		if err == nil && p[10] != 7 {
			t.Errorf("block 5 has %d, and a commit set it to 7", p[10])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSealed_IdleIsEmpty leaves a store alone for a few intervals: it holds no versions then.
func TestSealed_IdleIsEmpty(t *testing.T) {
	s := sealedStore(t, &hooked{Writable: blockcache.NewRAM(make([]byte, 1<<20))}, 5*time.Millisecond)
	for n := range block.Number(20) {
		if err := s.Update(context.Background(),
			func(tx *mvcc.Tx) error { return tx.Edit(n, merge.Set(0, []byte{1})) }); err != nil {
			t.Fatal(err)
		}
	}
	for range 12_000 {
		if st := s.Stats(); st.Chains == 0 && st.Pressure == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("still there: %+v", s.Stats())
}

// TestSealed_IdleGoesHome: what is durable goes home soon after the last commit, long before the interval ends, and
// then nothing more is written.
func TestSealed_IdleGoesHome(t *testing.T) {
	t.Parallel() // it waits
	writes := new(atomic.Int64)
	dev := &counted{Writable: blockcache.NewRAM(make([]byte, 1<<20)), writes: writes}
	s := sealedStore(t, &hooked{Writable: dev}, time.Hour)
	for n := range block.Number(20) {
		if err := s.Update(context.Background(),
			func(tx *mvcc.Tx) error { return tx.Edit(n, merge.Set(0, []byte{1})) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Pressure == 0 {
		t.Fatalf("nothing is in the journal: %+v", st)
	}
	deadline := time.Now().Add(time.Minute)
	for s.Stats().Pressure > 0 || s.Stats().Chains > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %+v", s.Stats())
		}
		time.Sleep(20 * time.Millisecond)
	}
	n := writes.Load()
	time.Sleep(1500 * time.Millisecond) // looks at it once a second
	if now := writes.Load(); now != n {
		t.Errorf("%d more writes and flushes of an idle store", now-n)
	}
}

// counted counts the writes and flushes of a device.
type counted struct {
	blockcache.Writable
	writes *atomic.Int64
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.writes.Add(1)
	return c.Writable.WriteAt(p, off)
}

func (c *counted) Sync() error {
	c.writes.Add(1)
	return c.Writable.Sync()
}

// TestWriteHome_SameAgain: a block holds metadata, is freed, holds file data, is freed again, and then gets the bytes
// that it had first. It has them after a remount: the cache of clean blocks must not take it for unchanged.
func TestWriteHome_SameAgain(t *testing.T) {
	ctx := context.Background()
	dev := &hooked{Writable: blockcache.NewRAM(make([]byte, 1<<20))}
	s := sealedStore(t, dev, time.Hour)
	first := bytes.Repeat([]byte{7}, int(sealedBlock))
	free := func(tx *mvcc.Tx) error {
		tx.Free(20)
		return nil
	}
	for _, do := range []func(tx *mvcc.Tx) error{
		func(tx *mvcc.Tx) error { return tx.Edit(20, merge.Whole(first)) },
		free,
		func(tx *mvcc.Tx) error { return tx.WriteHome(19, 0, make([]byte, 2*sealedBlock), true) },
		free,
		func(tx *mvcc.Tx) error { return tx.Edit(20, merge.Whole(first)) },
	} {
		if err := s.Update(ctx, do); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, sealedBlock)
	if _, err := dev.ReadAt(got, sealedBlock.Offset(20)); err != nil || !bytes.Equal(got, first) {
		t.Errorf("the block begins with %d: %v", got[0], err)
	}
}
