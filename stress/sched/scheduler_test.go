//go:build testhooks

package sched

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/yield"
)

// interleave runs three actors of four steps each, and returns the order of their steps.
func interleave(t *testing.T, seed uint64) (order []string, s *Scheduler) {
	s = New(seed)
	synctest.Test(t, func(*testing.T) {
		var actors []func()
		for i := range 3 {
			actors = append(actors, func() {
				for k := range 4 {
					yield.At(fmt.Sprint("actor ", i))
					order = append(order, fmt.Sprint(i, ".", k)) // one goroutine goes on at a time
				}
			})
		}
		s.Run(actors...)
	})
	return order, s
}

// TestRun_Repeats shows that a seed makes one run, that seeds make different ones, and that no step is lost.
func TestRun_Repeats(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(20) {
		one, first := interleave(t, seed)
		two, second := interleave(t, seed)
		if !slices.Equal(one, two) || first.Hash() != second.Hash() || first.Steps() != second.Steps() {
			t.Errorf("seed %d: %v, then %v", seed, one, two)
		}
		if len(one) != 12 {
			t.Errorf("seed %d: %d of 12 steps", seed, len(one))
		}
		for i := range 3 { // each actor's steps stay in their order
			var own []string
			for _, o := range one {
				if strings.HasPrefix(o, fmt.Sprint(i, ".")) {
					own = append(own, o)
				}
			}
			if !slices.IsSorted(own) || len(own) != 4 {
				t.Errorf("seed %d, actor %d: %v", seed, i, own)
			}
		}
		orders[strings.Join(one, " ")] = true
	}
	if len(orders) < 15 {
		t.Errorf("20 seeds made only %d orders", len(orders))
	}
}

func TestHash_DiffersByOrder(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range uint64(20) {
		_, s := interleave(t, seed)
		hashes[s.Hash()] = true
	}
	if len(hashes) < 15 {
		t.Errorf("20 seeds have only %d hashes", len(hashes))
	}
}

// TestRun_Timers shows that time passes: for an actor that waits alone, and beside one that yields all the time.
func TestRun_Timers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired, rounds := false, 0
		New(1).Run(
			func() { time.Sleep(50 * time.Millisecond); fired = true },
			func() {
				for !fired && rounds < 1_000_000 {
					yield.At("busy")
					rounds++
				}
			})
		if !fired || rounds == 0 || rounds == 1_000_000 {
			t.Errorf("fired %v after %d rounds", fired, rounds)
		}
	})
}

// TestRun_EndsBackground lets a goroutine that outlives its actor end.
func TestRun_EndsBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		New(3).Run(func() {
			go func() {
				for range 10 {
					yield.At("background")
				}
				ended = true
			}()
		})
		synctest.Wait()
		if !ended {
			t.Error("the goroutine is parked for ever")
		}
	})
}

// TestDevice_OthersGoOn shows that a write and a flush of one actor let others go on, and reach the device below.
func TestDevice_OthersGoOn(t *testing.T) {
	between := map[string]bool{}
	for seed := range uint64(30) {
		below := make([]byte, 4096)
		synctest.Test(t, func(t *testing.T) {
			d := NewDevice(blockcache.NewRAM(below), "log")
			at := "before"
			New(seed).Run(
				func() {
					if _, err := d.WriteAt([]byte{7}, 9); err != nil {
						t.Error(err)
					}
					at = "written"
					if err := d.Sync(); err != nil {
						t.Error(err)
					}
					at = "flushed"
				},
				func() {
					yield.At("other")
					between[at] = true
				})
		})
		if below[9] != 7 {
			t.Fatalf("seed %d: the write is not there", seed)
		}
	}
	if !between["before"] || !between["written"] || !between["flushed"] {
		t.Errorf("the other actor went on only: %v", between)
	}
}
