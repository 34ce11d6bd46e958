//go:build testhooks

package files

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/stress/sched"
)

const fileActors, fileSteps = 3, 12

// interleaved runs actors under a seeded scheduler, and returns what they did.
func (f form) interleaved(t *testing.T, image []byte, seed uint64) (actors []*actor, tr *blockcache.Trace, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr = &blockcache.Trace{}
		ram, open := f.device(image)
		opts := f.opts
		opts.Commit = 20 * time.Millisecond
		var w *volume.Writable
		if w, err = open(blockcache.Record(sched.NewDevice(ram, "device"), tr, 0), opts); err != nil {
			return
		}
		errs := make([]error, fileActors)
		var do []func()
		for i := range fileActors {
			a := &actor{number: i, states: []tree{{}}, trace: tr, w: w, rng: rand.New(rand.NewPCG(seed, uint64(i))),
				opened: map[string]ext4.Node{}, journalled: f.overlay || f.opts.JournalData}
			var n ext4.Inode
			if n, err = w.Create(someone, ext4.Root, a.name(), ext4.CreateOptions{Mode: disk.ModeDir | 0o755}); err != nil {
				return
			}
			a.dir = ext4.NodeOf(&n)
			actors = append(actors, a)
			do = append(do, func() { errs[i] = a.act() })
		}
		if err = w.Sync(context.Background()); err != nil {
			return
		}
		tr.Note("ready")
		do = append(do, func() {
			for range 3 {
				time.Sleep(5 * time.Millisecond)
				_ = w.Store.Checkpoint()
			}
		})
		sched.New(seed).Run(do...)
		_ = w.Abandon()
		err = errors.Join(errs...)
	})
	return actors, tr, err
}

var concurrentForms = []form{crashForms[0], crashForms[1], crashForms[5], crashForms[7]}

// exploreConcurrent runs seeds until so many states were explored, or something is wrong.
func (f form) exploreConcurrent(
	t *testing.T, image []byte, first uint64, states int, judges bool,
) (c *cuts, seeds int, err error) {
	t.Helper()
	c = f.cuts(t, image, first, judges)
	for seed := first; c.states < states; seed++ {
		seeds++
		actors, tr, err := f.interleaved(t, image, seed)
		if err == nil {
			err = c.explore(actors, image, tr)
		}
		if err != nil {
			return c, seeds, fmt.Errorf("%s, seed %d: %w", f.name, seed, err)
		}
	}
	return c, seeds, nil
}

// TestConcurrent cuts concurrent operations, syncs, epochs and checkpoints at any instant, and the recoveries again:
// journal with ordered data and with data, and an overlay.
func TestConcurrent(t *testing.T) {
	states := 200
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_CONCURRENT")); err == nil {
		states = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		first = n
	}
	t.Logf("repeat with: VARVE_SEED=%d go test -tags testhooks -run '^TestConcurrent$' ./stress/files", first)
	for _, f := range concurrentForms {
		c, seeds, err := f.exploreConcurrent(t, f.image(t), first, states, true)
		if err != nil {
			t.Error(err)
		}
		fmt.Printf("%s, concurrent: %d crash states of %d interleavings, %d of them inside recovery; "+
			"%d recovered twice, %d judged by e2fsck, %d by the kernel\n",
			f.name, c.states, seeds, c.inside, c.twice, c.x.Judged, c.x.Mounted)
	}
}

// TestConcurrent_Mutants switches promises off: the harness notices each.
func TestConcurrent_Mutants(t *testing.T) {
	defer mutant.Switch(mutant.None)
	for _, c := range []struct {
		promise mutant.Promise
		form    form
	}{
		{mutant.W1, crashForms[0]}, {mutant.W2, crashForms[0]}, {mutant.W3, crashForms[0]}, {mutant.J3, crashForms[0]},
		{mutant.OverlaySync, crashForms[7]},
	} {
		image := c.form.image(t)
		mutant.Switch(c.promise)
		cuts, seeds, err := c.form.exploreConcurrent(t, image, 1, 8000, false)
		mutant.Switch(mutant.None)
		if err == nil {
			t.Errorf("%s switched off: not noticed in %d states of %d interleavings", c.promise, cuts.states, seeds)
			continue
		}
		fmt.Printf("%s switched off: caught after %d states of %d interleavings: %.150s\n", c.promise, cuts.states, seeds,
			err)
	}
}
