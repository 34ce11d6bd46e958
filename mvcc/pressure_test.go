package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
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

// TestStep_Hysteresis: each step is taken at its mark, and left at a lower one only.
func TestStep_Hysteresis(t *testing.T) {
	var now step
	var got []step
	for _, p := range []float64{0.1, 0.49, 0.5, 0.45, 0.39, 0.6, 0.8, 0.7, 0.95, 0.94, 0.81, 0.79, 0.66, 0.64, 0.41, 0.39,
		0.99, 0} {
		now = now.next(p)
		got = append(got, now)
	}
	want := []step{
		noStep,
		noStep,
		flushing,
		flushing,
		noStep,
		flushing,
		slowing,
		slowing,
		waiting,
		waiting,
		waiting,
		slowing,
		slowing,
		flushing,
		flushing,
		noStep,
		waiting,
		noStep,
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v,\nexpected %v", got, want)
	}
}

// TestPressure_NamesTheSnapshot: a chain over its cap holds its writers back, and says which snapshot is to blame.
func TestPressure_NamesTheSnapshot(t *testing.T) {
	var reported atomic.Pointer[string]
	s := mustOpen(t, Options{ChainCap: 4, PushBack: 20 * time.Millisecond, Observer: ObserverFunc(func(e Event) {
		if e.Kind == EventPressure {
			reported.Store(&e.Reason)
		}
	})})
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

// TestPressure_LogIsBounded: commits wait for the checkpoint instead of filling the device.
func TestPressure_LogIsBounded(t *testing.T) {
	log := blockcache.NewRAM(nil)
	s := mustOpen(
		t,
		Options{PushBack: -1,
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
