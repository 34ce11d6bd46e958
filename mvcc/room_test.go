package mvcc_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/wal"
)

// narrow is a device on a file system that has no room beyond a limit.
type narrow struct {
	*blockcache.RAM
	mu    sync.Mutex
	limit int64 // guarded by mu
}

func (n *narrow) WriteAt(p []byte, off int64) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if off+int64(len(p)) > n.limit {
		return 0, syscall.ENOSPC
	}
	return n.RAM.WriteAt(p, off)
}

func (n *narrow) allow(limit int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limit = limit
}

const roomBlock = 1024

func openNarrow(t *testing.T, log, home *narrow) *mvcc.Store {
	t.Helper()
	s, _, err := mvcc.Open(mvcc.Options{BlockSize: roomBlock, Home: home, PushBack: 300 * time.Millisecond,
		Durability: mvcc.NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 4096, Gather: 4096}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// setAll writes a value into a block; it is 200 bytes of the log.
func setAll(s *mvcc.Store, n block.Number, v byte, durable bool) error {
	_, err := s.UpdateWith(context.Background(), mvcc.TxOptions{Durable: durable}, func(tx *mvcc.Tx) error {
		return tx.Edit(n, merge.Set(0, bytes.Repeat([]byte{v}, 200)))
	})
	return err
}

// checkAll compares the first byte of each block with what was written last.
func checkAll(t *testing.T, s *mvcc.Store, want []byte) {
	t.Helper()
	err := s.View(context.Background(), func(tx *mvcc.Tx) error {
		for n, v := range want {
			p, err := tx.ReadBlock(block.Number(n))
			if err != nil {
				return err
			}
			if p[0] != v {
				t.Errorf("block %d has %d, want %d", n, p[0], v)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestStore_LogWithoutRoom: a store whose log cannot grow goes on in the places that it has: checkpoints free them.
// After a crash it is opened again without more room.
func TestStore_LogWithoutRoom(t *testing.T) {
	log := &narrow{RAM: blockcache.NewRAM(nil), limit: 8192 + 4*4096}
	home := &narrow{RAM: blockcache.NewRAM(make([]byte, 16*roomBlock)), limit: 1 << 30}
	want := make([]byte, 16)
	s := openNarrow(t, log, home)
	for i := range 1200 {
		n := i % 16
		if err := setAll(s, block.Number(n), byte(i), i%5 == 0); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		want[n] = byte(i)
		if i%400 == 399 {
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.Abandon()
			s = openNarrow(t, log, home)
		}
	}
	checkAll(t, s, want)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStore_HomeWithoutRoom: a home device that is full holds writers back, and loses nothing: the next checkpoint
// after there is room writes what is due.
func TestStore_HomeWithoutRoom(t *testing.T) {
	log := &narrow{RAM: blockcache.NewRAM(nil), limit: 8192 + 4*4096}
	home := &narrow{RAM: blockcache.NewRAM(make([]byte, 16*roomBlock)), limit: 8 * roomBlock}
	want := make([]byte, 16)
	s := openNarrow(t, log, home)
	write := func(first, n int) (err error) {
		for i := first; i < first+n; i++ {
			if err = setAll(s, block.Number(i%16), byte(i), true); err != nil {
				return err
			}
			want[i%16] = byte(i)
		}
		return nil
	}
	if err := write(1, 20); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("checkpoint: %v, want ENOSPC", err)
	}
	if err := s.Err(); err != nil {
		t.Fatalf("the store has ended: %v", err)
	}
	err := write(21, 1000)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("with log and home full: %v, want ENOSPC", err)
	}
	checkAll(t, s, want)
	home.allow(1 << 30)
	if err := write(2000, 200); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
	checkAll(t, s, want)
	if err := s.Checkpoint(); err != nil {
		t.Error(err)
	}
	home.allow(8 * roomBlock)
	if err := write(3000, 20); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v, want ENOSPC", err)
	}
	home.allow(1 << 30)
	s = openNarrow(t, log, home)
	checkAll(t, s, want)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestEpoch_HomeWithoutRoom: so does a home device that is full behind a journal.
func TestEpoch_HomeWithoutRoom(t *testing.T) {
	ctx := context.Background()
	home := &narrow{RAM: blockcache.NewRAM(make([]byte, 4096*sealedBlock)), limit: 1 << 30}
	s := journalStoreOn(t, home, sealNothing)
	home.allow(sealedBlock.Offset(1024)) // the journal, and nothing behind it
	want := byte(0)
	round := func() error {
		err := s.Update(ctx, func(tx *mvcc.Tx) error {
			for n := range block.Number(100) {
				if err := tx.Edit(2000+n, merge.Set(0, []byte{want + 1})); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			want++
			err = s.Sync(ctx)
		}
		return err
	}
	rounds := 0
	var err error
	for ; err == nil && rounds < 40; rounds++ {
		if err = round(); err == nil && rounds == 2 {
			if err := s.Checkpoint(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("checkpoint: %v, want ENOSPC", err)
			}
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || rounds < 4 {
		t.Fatalf("after %d rounds: %v, want ENOSPC", rounds, err)
	}
	if err := s.Err(); err != nil {
		t.Fatalf("the store has ended: %v", err)
	}
	home.allow(1 << 30)
	for range 20 {
		if err := round(); err != nil {
			t.Fatalf("after room was made: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	for n := range block.Number(100) {
		if _, err := home.ReadAt(p, sealedBlock.Offset(2000+n)); err != nil || p[0] != want {
			t.Fatalf("block %d has %d at home, want %d: %v", 2000+n, p[0], want, err)
		}
	}
}
