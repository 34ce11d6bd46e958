package mvcc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

var ctx = context.Background()

func set(off uint32, v uint64) merge.Edit {
	return merge.Set(off, binary.LittleEndian.AppendUint64(nil, v))
}

func mustUpdate(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(ctx, fn); err != nil {
		t.Fatal(err)
	}
}

func mustBegin(t testing.TB, s *Store, o TxOptions) *Tx {
	t.Helper()
	tx, err := s.Begin(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.Rollback)
	return tx
}

func mustEdit(t testing.TB, tx *Tx, n block.Number, e merge.Edit) {
	t.Helper()
	if err := tx.Edit(n, e); err != nil {
		t.Fatal(err)
	}
}

func at(t testing.TB, tx *Tx, n block.Number, off int) uint64 {
	t.Helper()
	b, err := tx.ReadBlock(n)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// TestSnapshot_NeverHalfOfACommit: blocks of many shards that change together are equal in every snapshot (M1), and
// readers never wait (M2).
func TestSnapshot_NeverHalfOfACommit(t *testing.T) {
	s := mustOpen(t, Options{})
	const blocks = 40
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := uint64(0); !stop.Load(); i++ {
				mustUpdate(t, s, func(tx *Tx) error {
					for n := range block.Number(blocks) {
						if err := tx.Edit(n, merge.Add(merge.Field{Off: uint32(w * 8), Width: 8}, 1, 0, most)); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
	}
	for i := 0; i < 2000; i++ {
		if err := s.View(ctx, func(tx *Tx) error {
			first, err := tx.ReadBlock(0)
			if err != nil {
				return err
			}
			for n := range block.Number(blocks) {
				b, err := tx.ReadBlock(n)
				if err != nil {
					return err
				}
				if !bytes.Equal(b, first) {
					return fmt.Errorf("snapshot %d: block %d differs from block 0", tx.Seq(), n)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestCommit_FirstWins: a set of the same bytes conflicts, under every policy; what a proof lets stand stands where
// the policy merges (M3).
func TestCommit_FirstWins(t *testing.T) {
	for _, p := range []Policy{Strict, Merge, Adaptive} {
		s := mustOpen(t, Options{Policy: p})
		a, b, c := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
		mustEdit(t, a, 1, set(0, 1))
		mustEdit(t, b, 1, set(0, 2))
		mustEdit(t, c, 1, set(8, 3))
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); !errors.Is(err, ErrConflict) {
			t.Errorf("%v: a second set committed: %v", p, err)
		}
		if err := c.Commit(); errors.Is(err, ErrConflict) != (p == Strict) {
			t.Errorf("%v: a disjoint set: %v", p, err)
		}
		if v := counterOf(t, s, 1); v != 1 {
			t.Errorf("%v: %d", p, v)
		}
	}
}

// TestDepend_Validates: disjoint bytes are not enough where a transaction read what was changed (M4), in the block
// that it writes and in others.
func TestDepend_Validates(t *testing.T) {
	for name, c := range map[string]struct {
		level  Isolation
		depend func(tx *Tx) error
		theirs func(tx *Tx) error
		want   error
	}{
		"same block, declared": {Snapshot, func(tx *Tx) error { return tx.Depend(1, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(1, set(64, 9)) }, ErrConflict},
		"same block, other bytes": {Snapshot, func(tx *Tx) error { return tx.Depend(1, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(1, set(72, 9)) }, nil},
		"other block, declared": {Snapshot, func(tx *Tx) error { return tx.Depend(2, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(2, set(64, 9)) }, ErrConflict},
		"other block, other bytes": {Snapshot, func(tx *Tx) error { return tx.Depend(2, merge.Range{Off: 64, Len: 8}) },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"other block, only read": {Snapshot, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"serializable, read": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, ErrConflict},
		"serializable, range": {Serializable, func(tx *Tx) error { return tx.ReadRange(2, 8, make([]byte, 8)) },
			func(tx *Tx) error { return tx.Edit(2, set(0, 9)) }, nil},
		"serializable, own block": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(1); return err },
			func(tx *Tx) error { return tx.Edit(1, set(512, 9)) }, ErrConflict},
		"changed and put back": {Serializable, func(tx *Tx) error { _, err := tx.ReadBlock(2); return err },
			func(tx *Tx) error {
				return errors.Join(tx.Edit(2, set(0, 9)), tx.Edit(2, set(0, 0)))
			}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Options{Isolation: c.level})
			mine := mustBegin(t, s, TxOptions{})
			if err := c.depend(mine); err != nil {
				t.Fatal(err)
			}
			mustUpdate(t, s, c.theirs)
			mustEdit(t, mine, 1, set(0, 5))
			if err := mine.Commit(); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestSerializable_NoWriteSkew: two transactions that each read what the other writes never both commit, at any
// interleaving (M4).
func TestSerializable_NoWriteSkew(t *testing.T) {
	s := mustOpen(t, Options{Isolation: Serializable})
	for round := range 3000 {
		n := block.Number(2 * (round % 50))
		mustUpdate(t, s, func(tx *Tx) error { return errors.Join(tx.Edit(n, set(0, 1)), tx.Edit(n+1, set(0, 1))) })
		var wg sync.WaitGroup
		for i := range block.Number(2) {
			wg.Go(func() {
				tx, err := s.Begin(ctx, TxOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				defer tx.Rollback()
				if at(t, tx, n, 0)+at(t, tx, n+1, 0) == 2 {
					mustEdit(t, tx, n+i, set(0, 0))
					if err := tx.Commit(); err != nil && !errors.Is(err, ErrConflict) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if counterOf(t, s, n)+counterOf(t, s, n+1) == 0 {
			t.Fatalf("round %d: both were turned off", round)
		}
	}
}

// TestUpdate_NobodyStarves: a slow transaction over several blocks commits although quick ones change them all the
// time (M5).
func TestUpdate_NobodyStarves(t *testing.T) {
	s := mustOpen(t, Options{Policy: Strict, LostRaces: 4})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for n := block.Number(w); !stop.Load(); n = (n + 1) % 3 {
				mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, merge.Add(field, 1, 0, most)) })
			}
		})
	}
	for _, first := range []block.Number{0, 2} { // also in descending order, so that queues are joined again
		out, err := s.UpdateWith(ctx, TxOptions{}, func(tx *Tx) error {
			for i := range block.Number(3) {
				n := max(first, i) - min(first, i)
				if err := tx.Edit(n, set(64, uint64(first)+7)); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		if err != nil || out.Aborts < 4 || out.Aborts > 12 {
			t.Errorf("%d attempts lost, %v", out.Aborts, err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestHistory_IsBounded: a block under K snapshots keeps at most K+1 versions, however many commits there were (M6),
// each snapshot sees its own, and 32-byte edits cost little.
func TestHistory_IsBounded(t *testing.T) {
	s := mustOpen(t, Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	type view struct {
		tx   *Tx
		want []byte
	}
	var views []view
	model := make([]byte, 4096)
	for range 12 {
		for range 300 {
			e := make([]byte, 32)
			for i := range e {
				e[i] = byte(rng.Uint32())
			}
			off := uint32(rng.IntN(4096 - 32))
			copy(model[off:], e)
			mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Set(off, e)) })
		}
		views = append(views, view{mustBegin(t, s, TxOptions{ReadOnly: true}), bytes.Clone(model)})
	}
	s.Collect()
	if n := s.Stats().History; n > int64(len(views)) {
		t.Errorf("%d old versions under %d snapshots", n, len(views))
	}
	for len(views) > 0 {
		i := rng.IntN(len(views))
		b, err := views[i].tx.ReadBlock(1)
		if err != nil || !bytes.Equal(b, views[i].want) {
			t.Fatalf("snapshot %d sees something else: %v", views[i].tx.Seq(), err)
		}
		views[i].tx.Rollback()
		views = append(views[:i], views[i+1:]...)
		s.Collect()
		if n := s.Stats().History; n > int64(len(views)) {
			t.Errorf("%d old versions under %d snapshots", n, len(views))
		}
	}
	if st := s.Stats(); st.History != 0 || st.HistoryBytes != 0 {
		t.Errorf("%d versions, %d bytes without any snapshot", st.History, st.HistoryBytes)
	}
}

// TestHistory_CostsBytes: what a 32-byte edit keeps under a live snapshot, in memory as the runtime counts it.
func TestHistory_CostsBytes(t *testing.T) {
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 4000*4096))})
	const blocks = 2000
	edit := func(v byte) {
		for n := range block.Number(blocks) {
			mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, merge.Set(64, bytes.Repeat([]byte{v}, 32))) })
		}
	}
	edit(1)
	s.Collect()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	tx := mustBegin(t, s, TxOptions{ReadOnly: true})
	edit(2)
	s.Collect()
	after := heap()
	if st := s.Stats(); st.History != blocks || st.HistoryBytes > 160*blocks {
		t.Errorf("%d versions with %d bytes", st.History, st.HistoryBytes)
	}
	if each := (int64(after) - int64(before)) / blocks; each > 400 { // with the chains' own bookkeeping, and noise
		t.Errorf("%d bytes of heap a version", each)
	} else {
		t.Logf("%d bytes of heap a version, of which the store counts %d", each, s.Stats().HistoryBytes/blocks)
	}
	if got := at(t, tx, 7, 64); got != 0x0101010101010101 {
		t.Errorf("the snapshot sees %x", got)
	}
}

// TestPack_Reads: history that was packed in the background reads as before.
func TestPack_Reads(t *testing.T) {
	for _, p := range []PackPolicy{{MinBytes: 64, S2After: time.Nanosecond, ZstdAfter: time.Hour},
		{MinBytes: 64, S2After: time.Nanosecond, ZstdAfter: 2 * time.Nanosecond}, {MinBytes: -1}} {
		s := mustOpen(t, Options{Pack: p})
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Whole(bytes.Repeat([]byte("varve "), 700)[:4096])) })
		tx := mustBegin(t, s, TxOptions{ReadOnly: true})
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Whole(make([]byte, 4096))) })
		deadline := time.Now().Add(time.Minute)
		for s.Collect(); p.MinBytes > 0 && s.Stats().HistoryBytes > 1000 && time.Now().Before(deadline); s.Collect() {
			time.Sleep(5 * time.Millisecond)
		}
		if n := s.Stats().HistoryBytes; p.MinBytes > 0 && n > 1000 {
			t.Errorf("%+v: %d bytes of history", p, n)
		}
		if b, err := tx.ReadBlock(1); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("varve "), 700)[:4096]) {
			t.Errorf("%+v: other bytes, %v", p, err)
		}
	}
}

// TestUpdate_LeavesNoTrace: an error, a panic, a cancelled context and a rollback change nothing (M7).
func TestUpdate_LeavesNoTrace(t *testing.T) {
	s := mustOpen(t, Options{})
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, set(0, 5)) })
	before := s.Published()
	errMine := errors.New("mine")
	if err := s.Update(ctx, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 6)); return errMine }); !errors.Is(
		err,
		errMine,
	) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(ctx, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 7)); panic("mine") })
	}()
	cancelled, cancel := context.WithCancel(ctx)
	if err := s.Update(cancelled, func(tx *Tx) error { mustEdit(t, tx, 1, set(0, 8)); cancel(); return nil }); !errors.Is(
		err,
		context.Canceled,
	) {
		t.Errorf("got %v", err)
	}
	tx := mustBegin(t, s, TxOptions{})
	mustEdit(t, tx, 1, set(0, 9))
	tx.Rollback()
	if err := tx.Commit(); !errors.Is(err, ErrDone) {
		t.Errorf("a commit after a rollback: %v", err)
	}
	if v := counterOf(t, s, 1); v != 5 || s.Published() != before {
		t.Errorf("the block has %d, and %d commits came", v, s.Published()-before)
	}
	if _, _, live := s.snapshots.oldest(); live {
		t.Error("a snapshot stayed")
	}
}

// TestCommit_TooLarge: a transaction that no segment of the log takes is refused, and the store goes on.
func TestCommit_TooLarge(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{SegmentSize: 16 << 10}}})
	err := s.Update(ctx, func(tx *Tx) error {
		for n := range block.Number(5) {
			if err := tx.Edit(n, merge.Whole(bytes.Repeat([]byte{1}, 4096))); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, set(8, 1)) })
	if v := counterOf(t, s, 1); v != 0 {
		t.Errorf("a part of it stayed: %x", v)
	}
}

// TestEdit_Refuses: an edit that cannot be applied is an error, and the others of its transaction stand.
func TestEdit_Refuses(t *testing.T) {
	s := mustOpen(t, Options{})
	tx := mustBegin(t, s, TxOptions{})
	mustEdit(t, tx, 1, set(0, 5))
	half := merge.Reapply(func(b []byte) error { b[100] = 1; return merge.ErrRoom })
	for _, e := range []merge.Edit{merge.Set(4090, make([]byte, 9)), merge.Add(field, -6, 0, most), merge.ClearBits(64, 1),
		half} {
		if err := tx.Edit(1, e); err == nil {
			t.Errorf("%v was taken", e.Kind())
		}
	}
	if err := tx.Edit(5000, set(0, 1)); !errors.Is(err, ErrNoBlock) {
		t.Errorf("got %v", err)
	}
	if b, _ := tx.ReadBlock(1); b[100] != 0 || b[0] != 5 {
		t.Error("a refused edit can be seen")
	}
	ro := mustBegin(t, s, TxOptions{ReadOnly: true})
	if err := ro.Edit(1, set(0, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if v := counterOf(t, s, 1); v != 5 {
		t.Errorf("%d", v)
	}
}

// TestAppend_Placed: Placed is where an append landed, once it has committed.
func TestAppend_Placed(t *testing.T) {
	s := mustOpen(t, Options{})
	used := merge.Field{Off: 0, Width: 4}
	a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
	mustEdit(t, a, 1, merge.Append(used, 16, 4096, []byte("abc")))
	mustEdit(t, b, 1, merge.Append(used, 16, 4096, []byte("de")))
	var placed uint32
	b.OnCommit(func() { placed, _ = b.Placed(1, 0) })
	if err := errors.Join(a.Commit(), b.Commit()); err != nil {
		t.Fatal(err)
	}
	if placed != 19 {
		t.Errorf("placed at %d", placed)
	}
	if v := counterOf(t, s, 1); uint32(v) != 5 {
		t.Errorf("%d bytes in use", v)
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

// TestPressure_NamesTheSnapshot: a chain over its cap holds its writers back, and says which snapshot is to blame.
func TestPressure_NamesTheSnapshot(t *testing.T) {
	var reported atomic.Pointer[string]
	s := mustOpen(t, Options{ChainCap: 4, PushBack: 20 * time.Millisecond, Events: func(e Event) {
		if e.Kind == EventPressure {
			reported.Store(&e.Reason)
		}
	}})
	var err error
	var held []*Tx
	for i := range 40 {
		held = append(held, mustBegin(t, s, TxOptions{ReadOnly: true, Name: fmt.Sprintf("backup %d", i)}))
		if err = s.Update(ctx, func(tx *Tx) error { return tx.Edit(1, merge.Add(field, 1, 0, most)) }); err != nil {
			break
		}
	}
	var push *PushBackError
	if !errors.As(err, &push) || push.Snapshot != "backup 0" {
		t.Fatalf("got %v", err)
	}
	if r := reported.Load(); r == nil || !strings.Contains(*r, "backup 0") {
		t.Errorf("reported %v", r)
	}
	for _, tx := range held {
		tx.Rollback()
	}
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Add(field, 1, 0, most)) })
}

// TestPressure_ManyBlocks: where a snapshot keeps many changed blocks from being dropped, memory is bounded, too, and
// the snapshot is named.
func TestPressure_ManyBlocks(t *testing.T) {
	s := mustOpen(
		t,
		Options{Home: blockcache.NewRAM(make([]byte, 2000<<12)), Memory: 256 << 12, PushBack: 50 * time.Millisecond},
	)
	reader := mustBegin(t, s, TxOptions{ReadOnly: true, Name: "a long report"})
	var err error
	done := 0
	for n := block.Number(0); n < 2000 && err == nil; n++ {
		err = s.Update(ctx, func(tx *Tx) error { return tx.Edit(n, set(0, 1)) })
		done++
	}
	var push *PushBackError
	if !errors.As(err, &push) || push.Snapshot != "a long report" || done > 400 {
		t.Fatalf("after %d blocks: %v", done, err)
	}
	reader.Rollback()
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1999, set(0, 1)) })
}

// TestPressure_Waits: a store that is to wait gives no error however long snapshots keep memory full, or a chain over
// its cap, and names the snapshot that it waits for.
func TestPressure_Waits(t *testing.T) {
	s := mustOpen(
		t,
		Options{Home: blockcache.NewRAM(make([]byte, 2000<<12)), Memory: 256 << 12, ChainCap: 4, PushBack: -1},
	)
	add := func(n block.Number) error {
		return s.Update(ctx, func(tx *Tx) error { return tx.Edit(n, merge.Add(field, 1, 0, most)) })
	}
	for name, write := range map[string]func(hold func()) error{
		"many blocks": func(func()) (err error) {
			for n := block.Number(0); n < 2000 && err == nil; n++ {
				err = add(n)
			}
			return err
		},
		"one block": func(hold func()) (err error) {
			for i := 0; i < 20 && err == nil; i++ {
				if i < 6 {
					hold()
				}
				err = add(1)
			}
			return err
		}} {
		held := []*Tx{mustBegin(t, s, TxOptions{ReadOnly: true, Name: "a long report"})}
		done := make(chan error, 1)
		go func() {
			done <- write(func() { held = append(held, mustBegin(t, s, TxOptions{ReadOnly: true, Name: "a long report"})) })
		}()
		for until := time.Now().Add(20 * time.Second); s.Stats().WaitingFor != "a long report"; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s: no writer waits: %+v", name, s.Stats())
			}
		}
		select {
		case err := <-done:
			t.Fatalf("%s: writers are done: %v", name, err)
		case <-time.After(30 * time.Millisecond):
		}
		for _, tx := range held {
			tx.Rollback()
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, tx := range held {
			tx.Rollback()
		}
	}
	if st := s.Stats(); st.Waiting != 0 || st.WaitingFor != "" {
		t.Errorf("%+v", st)
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

// TestPressure_LogIsBounded: commits wait for the checkpoint instead of filling the device.
func TestPressure_LogIsBounded(t *testing.T) {
	log := blockcache.NewRAM(nil)
	s := mustOpen(
		t,
		Options{
			Durability: NativeLog{Device: log, Options: wal.Options{SegmentSize: 16 << 10, MaxBytes: 64 << 10, Gather: 4 << 10}},
		},
	)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 1500 {
				mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(block.Number(w), merge.Set(0, make([]byte, 100))) })
				mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(block.Number(w), merge.Set(0, bytes.Repeat([]byte{1}, 100))) })
			}
		})
	}
	wg.Wait()
	if n := log.Size(); n > 256<<10 {
		t.Errorf("the log grew to %d bytes", n)
	}
}

// TestFree_NotTooEarly: a freed block may be used again when its freeing is durable and no snapshot can read it (W4).
func TestFree_NotTooEarly(t *testing.T) {
	s := mustOpen(t, Options{Durability: NativeLog{Options: wal.Options{Policy: wal.OnDemand}}})
	mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(9, set(0, 1)) })
	old := mustBegin(t, s, TxOptions{ReadOnly: true, Name: "old reader"})
	freed := block.Seq(0)
	mustUpdate(t, s, func(tx *Tx) error {
		tx.Free(9)
		tx.Sequenced(func(seq block.Seq) { freed = seq })
		return tx.Edit(1, set(0, 1))
	})
	if s.Reusable(freed) {
		t.Error("reusable before its freeing is durable")
	}
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Reusable(freed) {
		t.Error("reusable while a snapshot reads it")
	}
	if seq, by, ok := s.OldestSnapshot(); !ok || seq >= freed || by != "old reader" {
		t.Errorf("the oldest snapshot is %d of %q, %v", seq, by, ok)
	}
	old.Rollback()
	if !s.Reusable(freed) || s.Reusable(freed+1) {
		t.Error("never reusable")
	}
	data := bytes.Repeat([]byte{7}, 4096)
	mustUpdate(t, s, func(tx *Tx) error { return errors.Join(tx.WriteNew(9, data), tx.Edit(1, set(0, 2))) })
	if v := counterOf(t, s, 9); v != 0x0707070707070707 {
		t.Errorf("the new contents are %x", v)
	}
}

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

// TestFaults_StopTheStore: an error of a device is reported; a failed flush ends commits, and what was acknowledged
// survives.
func TestFaults_StopTheStore(t *testing.T) {
	for _, c := range []struct {
		device string
		fault  blockcache.Fault
	}{{"log", blockcache.FlushError}, {"log", blockcache.WriteError}, {"log", blockcache.ShortWrite},
		{"log", blockcache.NoSpace},
		{"home", blockcache.FlushError}, {"home", blockcache.WriteError}, {"home", blockcache.ShortWrite}, {"home",
			blockcache.NoSpace}} {
		t.Run(c.device+", "+c.fault.String(), func(t *testing.T) {
			home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
			fh, fl := blockcache.NewFaulty(home), blockcache.NewFaulty(log)
			o := Options{
				BlockSize:  4096,
				Home:       fh,
				Durability: NativeLog{Device: fl, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 16 << 10}},
			}
			s, _, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 5)) }); err != nil {
				t.Fatal(err)
			}
			if c.device == "log" {
				fl.Fail(c.fault, 0, true)
				err = s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 6)) })
			} else {
				fh.Fail(c.fault, 0, true)
				err = s.Checkpoint()
			}
			if err == nil {
				t.Error("the error was not reported")
			}
			if err := s.Update(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 7)) }); err == nil ||
				!strings.Contains(err.Error(), "no more commits") {
				t.Errorf("commits go on: %v", err)
			}
			s.Abandon()
			s = mustOpen(
				t,
				Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log, Options: o.Durability.(NativeLog).Options}},
			)
			if v := counterOf(t, s, 1); v != 5 && v != 6 {
				t.Errorf("after recovery %d", v)
			}
		})
	}
}

// TestFaults_Read: a block that cannot be read is an error of its transaction, and of no other.
func TestFaults_Read(t *testing.T) {
	home := blockcache.NewFaulty(blockcache.NewRAM(make([]byte, 64<<12)))
	s := mustOpen(t, Options{Home: home})
	home.Fail(blockcache.ReadError, 0, true)
	if err := s.Update(ctx, func(tx *Tx) error { _, err := tx.ReadBlock(3); return err }); err == nil {
		t.Error("an unreadable block was read")
	}
	if v := counterOf(t, s, 3); v != 0 {
		t.Errorf("%d", v)
	}
}

// TestFaults_FlippedBit: a log with a flipped bit is not replayed past it.
func TestFaults_FlippedBit(t *testing.T) {
	home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
	o := Options{
		BlockSize:  4096,
		Home:       home,
		Durability: NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 16 << 10}},
	}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, merge.Add(field, 1, 0, most)) }); err != nil {
			t.Fatal(err)
		}
	}
	s.Abandon()
	f := blockcache.NewFaulty(log)
	f.Fail(blockcache.FlippedBit, 3, true)
	o.Durability = NativeLog{Device: f, Options: o.Durability.(NativeLog).Options}
	if s, rec, err := Open(o); err == nil {
		defer s.Abandon()
		if v := counterOf(t, s, 1); v != uint64(rec.Last) {
			t.Errorf("recovered to %d, and the block has %d", rec.Last, v)
		}
	} else if !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// TestOpen_Refuses: options that make no store.
func TestOpen_Refuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no home":    {BlockSize: 4096},
		"block size": {BlockSize: 1000, Home: blockcache.NewRAM(make([]byte, 1<<16))},
		"tiny":       {BlockSize: 4096, Home: blockcache.NewRAM(make([]byte, 100))},
	} {
		if _, _, err := Open(o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestOpen_BlockSizes: every size of a block, through a merge and a recovery.
func TestOpen_BlockSizes(t *testing.T) {
	for size := block.MinSize; size <= block.MaxSize; size *= 2 {
		home, log := blockcache.NewRAM(make([]byte, 8*int(size))), blockcache.NewRAM(nil)
		s := mustOpen(t, Options{BlockSize: size, Home: home, Durability: NativeLog{Device: log}})
		a, b := mustBegin(t, s, TxOptions{}), mustBegin(t, s, TxOptions{})
		mustEdit(t, a, 7, set(0, 1))
		mustEdit(t, b, 7, set(uint32(size)-8, 2))
		if err := errors.Join(a.Commit(), b.Commit(), s.Sync(ctx)); err != nil {
			t.Fatal(err)
		}
		s.Abandon()
		s = mustOpen(t, Options{BlockSize: size, Home: home, Durability: NativeLog{Device: log}})
		if err := s.View(ctx, func(tx *Tx) error {
			if at(t, tx, 7, 0) != 1 || at(t, tx, 7, int(size)-8) != 2 {
				t.Errorf("%d-byte blocks lost an edit", size)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
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

// TestUpdate_RestartIsNotLost: a function that ignores errRestart runs again all the same.
func TestUpdate_RestartIsNotLost(t *testing.T) {
	s := mustOpen(t, Options{Policy: Wait})
	for _, n := range []block.Number{1, 2} {
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, set(0, 1)) })
	}
	mustUpdate(t, s, func(tx *Tx) error {
		for _, n := range []block.Number{2, 1} {
			_ = tx.Edit(n, merge.Add(field, 1, 0, most))
		}
		return nil
	})
	if a, b := counterOf(t, s, 1), counterOf(t, s, 2); a != 2 || b != 2 {
		t.Errorf("%d and %d, want 2 and 2", a, b)
	}
}
