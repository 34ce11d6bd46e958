//go:build testhooks

package stress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/stress/sched"
)

// interleaving is one run of concurrent writers under a seeded scheduler, over devices whose every write and flush is
// recorded.
type interleaving struct {
	seed  uint64
	trace *blockcache.Trace
	store *mvcc.Store

	mu     sync.Mutex
	model  *model                  // guarded by mu: the commits, run one after the other
	shadow map[block.Number][]byte // guarded by mu: the newest contents
	err    error                   // guarded by mu: the first
}

const (
	actors     = 4
	actorSteps = 10
)

// interleave runs one seed, and returns what it recorded.
func interleave(t *testing.T, seed uint64) (run *interleaving, hash uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run = &interleaving{seed: seed, trace: &blockcache.Trace{}, model: newModel(), shadow: map[block.Number][]byte{}}
		home := blockcache.Record(sched.NewDevice(blockcache.NewRAM(make([]byte, crashBlocks*int(crashBlock))), "home"),
			run.trace, crashHome)
		log := blockcache.Record(sched.NewDevice(blockcache.NewRAM(nil), "log"), run.trace, crashLog)
		var err error
		if run.store, _, err = mvcc.Open(crashOptions(home, log)); err != nil {
			t.Fatal(err)
		}
		s := sched.New(seed)
		var do []func()
		for a := range actors {
			rng := rand.New(rand.NewPCG(seed, uint64(a)))
			do = append(do, func() { run.act(rng) })
		}
		do = append(do, func() { // checkpoints beside them
			for range 3 {
				time.Sleep(2 * time.Millisecond)
				run.note(run.store.Checkpoint())
			}
		})
		s.Run(do...)
		run.store.Abandon()
		hash = s.Hash()
	})
	return run, hash
}

func (r *interleaving) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && err != nil && !errors.Is(err, mvcc.ErrClosed) {
		r.err = err
	}
}

// act is one writer: commits, some of them durable, and syncs of groups.
func (r *interleaving) act(rng *rand.Rand) {
	ctx := context.Background()
	for range actorSteps {
		durable := rng.IntN(3) == 0
		group := uint64(rng.IntN(3))
		changes := r.changes(rng)
		out, err := r.store.UpdateWith(ctx, mvcc.TxOptions{Durable: durable}, func(tx *mvcc.Tx) error {
			tx.Group(group)
			for _, c := range changes {
				for _, e := range c.edits {
					if err := tx.Edit(c.n, e); err != nil {
						return err
					}
				}
			}
			tx.Sequenced(func(seq block.Seq) { r.commit(seq, changes) })
			return nil
		})
		r.note(err)
		if err == nil && durable {
			r.trace.Note(fmt.Sprint(out.Seq))
		}
		if err == nil && rng.IntN(3) == 0 {
			if err = r.store.SyncGroup(ctx, group); err == nil {
				r.trace.Note(fmt.Sprint(out.Seq))
			}
			r.note(err)
		}
	}
}

// changes are edits of one or two blocks that other writers change, too.
func (r *interleaving) changes(rng *rand.Rand) (out []change) {
	first := rng.IntN(crashFirst)
	for k := range 1 + rng.IntN(2) {
		n := block.Number((first + k) % crashFirst)
		out = append(out, change{n, []merge.Edit{merge.Add(crashCounter, 1+rng.Int64N(5), 0, noLimit),
			merge.Set(uint32(8+8*rng.IntN(20)), bytes.Repeat([]byte(fmt.Sprintf("%08d", rng.IntN(1e8))), 12))}})
	}
	return out
}

// commit runs a commit's edits on the model. The sequencer's latch is held: commits come in their order.
func (r *interleaving) commit(seq block.Seq, changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		b := r.shadow[c.n]
		if b == nil {
			b = make([]byte, crashBlock)
		}
		b = bytes.Clone(b)
		for i := range c.edits {
			if _, err := merge.Apply(b, &c.edits[i]); err != nil && r.err == nil {
				r.err = err
			}
		}
		r.shadow[c.n] = b
		r.model.put(c.n, seq, b)
	}
}

// exploreInterleavings runs seeds until so many crash states were explored, or something is wrong.
func exploreInterleavings(t *testing.T, first uint64, states int) (x *Explorer, seeds int) {
	t.Helper()
	x = NewExplorer(first, 3, true)
	for seed := first; x.States < states; seed++ {
		run, _ := interleave(t, seed)
		seeds++
		if run.err != nil {
			x.fail(fmt.Sprintf("seed %d", seed), "while it ran", run.err)
			return x, seeds
		}
		if err := x.explore(run.trace, run.model, fmt.Sprintf("seed %d", seed)); err != nil {
			return x, seeds
		}
	}
	return x, seeds
}

// TestInterleavings cuts concurrent writers, syncs and checkpoints over the native log at any instant, also within a
// flush and between flushes that overlap: what was acknowledged is there, the rest is a prefix of the commits, and a
// second recovery changes nothing.
func TestInterleavings(t *testing.T) {
	states := 1500
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_CONCURRENT")); err == nil {
		states = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		first = n
	}
	t.Logf("repeat with: VARVE_SEED=%d go test -tags testhooks -run '^TestInterleavings$' ./stress", first)
	x, seeds := exploreInterleavings(t, first, states)
	for _, f := range x.Failed {
		t.Error(f)
	}
	fmt.Printf("native log, concurrent: %d crash states of %d interleavings, %d of them inside recovery\n", x.States,
		seeds, x.Classes["inside recovery"])
}

// TestInterleavings_Repeat: a seed makes the same run again.
func TestInterleavings_Repeat(t *testing.T) {
	for seed := range uint64(5) {
		_, one := interleave(t, seed)
		_, two := interleave(t, seed)
		if one != two {
			t.Errorf("seed %d passed other points the second time", seed)
		}
	}
}

// TestInterleavings_Mutants switches promises off: the harness notices each.
func TestInterleavings_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, p := range []mutant.Promise{mutant.W1, mutant.W2, mutant.W6, mutant.W7} {
		mutant.Switch(p)
		x, seeds := exploreInterleavings(t, 1, 20_000)
		mutant.Switch(mutant.None)
		if len(x.Failed) == 0 {
			t.Errorf("%s switched off: not noticed in %d states of %d interleavings", p, x.States, seeds)
			continue
		}
		fmt.Printf("%s switched off: caught after %d states of %d interleavings: %.150s\n", p, x.States, seeds, x.Failed[0])
	}
}

// TestInterleavings_Rejects: what the harness must not let pass.
func TestInterleavings_Rejects(t *testing.T) {
	run, _ := interleave(t, 1)
	x := NewExplorer(1, 3, true)
	if err := x.explore(run.trace, run.model, "seed 1"); err != nil || run.err != nil {
		t.Fatal(err, run.err, x.Failed)
	}
	full := disks{make([]byte, crashBlocks*int(crashBlock)), nil}
	for _, e := range run.trace.Events() {
		if e.Data != nil {
			full.write(e, nil)
		}
	}
	last, _, err := x.recover(full.clone(), 0, run.model)
	if err != nil {
		t.Fatal(err)
	}
	other := full.clone()
	other[crashHome][int(crashBlock)-1] ^= 1 // no commit changes this byte, so that no replay mends it
	for name, c := range map[string]struct {
		disks disks
		acked block.Seq
		why   string
	}{
		"more was acknowledged": {full, last + 1, "was acknowledged as durable"},
		"nothing is there":      {disks{make([]byte, crashBlocks*int(crashBlock)), nil}, 1, "was acknowledged as durable"},
		"a byte is another one": {other, 0, "must be"},
	} {
		if _, _, err := x.recover(c.disks.clone(), c.acked, run.model); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.why)
		}
	}
}
