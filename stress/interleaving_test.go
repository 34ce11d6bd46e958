//go:build testhooks

package stress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
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
				run.record(run.store.Checkpoint())
			}
		})
		s.Run(do...)
		run.store.Abandon()
		hash = s.Hash()
	})
	return run, hash
}

func (r *interleaving) record(err error) {
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
		r.record(err)
		if err == nil && durable {
			r.trace.Note(fmt.Sprint(out.Seq))
		}
		if err == nil && rng.IntN(3) == 0 {
			if err = r.store.SyncGroup(ctx, group); err == nil {
				r.trace.Note(fmt.Sprint(out.Seq))
			}
			r.record(err)
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
