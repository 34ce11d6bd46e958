//go:build testhooks

package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
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

// tree is what one actor's directory holds: contents by name.
type tree map[string]string

// actor works in a directory of its own, beside others that share bitmaps, inode tables and the journal with it.
type actor struct {
	number int
	dir    ext4.Node
	states []tree // after each of its operations
	trace  *blockcache.Trace
	w      *volume.Writable
	rng    *rand.Rand
	opened map[string]ext4.Node
}

func (a *actor) name() string { return fmt.Sprint("actor", a.number) }

// op is one operation: noted in the trace where it begins and ends, and in the states.
func (a *actor) op(do func(tree) error) error {
	next := maps.Clone(a.states[len(a.states)-1])
	a.trace.Note(fmt.Sprintf("begin %d %d", a.number, len(a.states)))
	if err := do(next); err != nil {
		return err
	}
	a.states = append(a.states, next)
	a.trace.Note(fmt.Sprintf("end %d %d", a.number, len(a.states)-1))
	return nil
}

const fileActors, fileSteps = 3, 10

// act is a life of creating, appending, renaming, removing, and syncing.
func (a *actor) act() error {
	for step := range fileSteps {
		name := fmt.Sprint("f", a.rng.IntN(3))
		node, exists := a.opened[name]
		var err error
		switch k := a.rng.IntN(10); {
		case !exists:
			err = a.op(func(t tree) error {
				n, err := a.w.Create(someone, a.dir, name, ext4.Creation{Mode: disk.ModeRegular | 0o644})
				a.opened[name], t[name] = ext4.NodeOf(&n), ""
				return err
			})
		case k < 5:
			err = a.op(func(t tree) error {
				data := strings.Repeat(fmt.Sprintf("%d.%d ", a.number, step), 1+a.rng.IntN(400))
				_, err := a.w.Write(someone, node, int64(len(t[name])), []byte(data), false)
				t[name] += data
				return err
			})
		case k < 7:
			err = a.remove(name, node)
		default:
			to := fmt.Sprint("r", a.rng.IntN(2))
			if _, there := a.opened[to]; there {
				continue
			}
			err = a.op(func(t tree) error {
				_, err := a.w.Rename(someone, a.dir, name, a.dir, to, 0)
				a.opened[to], t[to] = node, t[name]
				delete(a.opened, name)
				delete(t, name)
				return err
			})
		}
		if err == nil && a.rng.IntN(3) == 0 {
			done := len(a.states) - 1
			if err = a.w.SyncNode(context.Background(), a.dir); err == nil {
				a.trace.Note(fmt.Sprintf("sync %d %d", a.number, done))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) remove(name string, node ext4.Node) error {
	err := a.op(func(t tree) error {
		delete(a.opened, name)
		delete(t, name)
		_, err := a.w.Unlink(someone, a.dir, name)
		return err
	})
	if err == nil {
		err = a.w.Evict(node)
	}
	return err
}

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
			a := &actor{number: i, states: []tree{{}}, trace: tr, w: w, rng: rand.New(rand.NewPCG(seed, uint64(i))), opened: map[string]ext4.Node{}}
			var n ext4.Inode
			if n, err = w.Create(someone, ext4.Root, a.name(), ext4.Creation{Mode: disk.ModeDir | 0o755}); err != nil {
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

// cuts explores the crash states of a run of concurrent actors.
type cuts struct {
	form   form
	open   Opener
	actors []*actor
	rng    *rand.Rand
	states int
	began  [][]int // by actor and operation: when, in events
	ended  [][]int
	synced []int
}

// explore cuts the trace at its writes and flushes, and returns what was wrong first.
func (c *cuts) explore(image []byte, tr *blockcache.Trace) error {
	ram, open := c.form.device(image)
	c.open = open
	i := &instant{flushed: ram.Bytes()}
	for range c.actors {
		c.began, c.ended, c.synced = append(c.began, []int{0}), append(c.ended, []int{0}), append(c.synced, 0)
	}
	ready := false
	for k, e := range tr.Events() {
		var err error
		switch {
		case e.Mark == "ready":
			ready = true
		case e.Mark != "":
			err = c.note(e.Mark, k)
			if err == nil && strings.HasPrefix(e.Mark, "sync") {
				err = c.check(i.flushed, k)
			}
		case e.Flush():
			i.flush(e)
		default:
			i.open = append(i.open, e)
			if ready {
				err = c.cut(i, k)
			}
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", k, err)
		}
	}
	return nil
}

func (c *cuts) note(mark string, k int) error {
	var what string
	var actor, n int
	if _, err := fmt.Sscanf(mark, "%s %d %d", &what, &actor, &n); err != nil {
		return err
	}
	switch what {
	case "begin":
		c.began[actor] = append(c.began[actor], k)
	case "end":
		c.ended[actor] = append(c.ended[actor], k)
	case "sync":
		c.synced[actor] = n
	}
	return nil
}

// cut makes states of a crash after a write: nothing of what is not flushed, all of it, and a random subset, torn.
func (c *cuts) cut(i *instant, k int) error {
	fates, bits := make([]int, len(i.open)), make([]uint64, len(i.open))
	for j := range fates {
		fates[j], bits[j] = c.rng.IntN(4), c.rng.Uint64()
	}
	for _, img := range [][]byte{i.flushed, i.all(),
		i.survive(func(j, k int) bool { return fates[j] > 1 || fates[j] == 1 && bits[j]>>(k%64)&1 == 1 })} {
		if err := c.check(img, k); err != nil {
			return err
		}
	}
	return nil
}

// check recovers a state: each actor's directory is as after one of its operations, nothing acknowledged is missing, what is there is a prefix, the checker is content,
// and a second recovery changes nothing.
func (c *cuts) check(img []byte, k int) error {
	c.states++
	device := blockcache.NewRAM(bytes.Clone(img))
	got, err := c.recover(device)
	if err != nil {
		return err
	}
	low, high := make([]int, len(c.actors)), make([]int, len(c.actors))
	for i, a := range c.actors {
		low[i], high[i] = -1, -1
		for n := range min(len(a.states), len(c.began[i])) {
			if maps.Equal(a.states[n], got[i]) {
				if low[i] < 0 {
					low[i] = n
				}
				high[i] = n
			}
		}
		if high[i] < c.synced[i] {
			return fmt.Errorf("%s is as after operation %d, and %d were acknowledged: %v", a.name(), high[i], c.synced[i], describe(got[i]))
		}
	}
	for i := range c.actors { // if B is there, so is each A that ended before B began
		for j := range c.actors {
			for n := high[j] + 1; n < len(c.ended[j]); n++ {
				if c.ended[j][n] < c.began[i][low[i]] {
					return fmt.Errorf("operation %d of actor %d is there, and %d of actor %d, which ended before, is not", low[i], i, n, j)
				}
			}
		}
	}
	if c.states%8 != 0 {
		return nil
	}
	again, err := c.recover(device)
	if err != nil {
		return fmt.Errorf("the second recovery: %w", err)
	}
	for i := range got {
		if !maps.Equal(got[i], again[i]) {
			return fmt.Errorf("the second recovery gives actor %d %v, the first %v", i, describe(again[i]), describe(got[i]))
		}
	}
	return nil
}

func describe(t tree) (out []string) {
	for name, data := range t {
		out = append(out, fmt.Sprintf("%s: %d bytes", name, len(data)))
	}
	return out
}

// recover opens a device, reads the actors' directories, and has the checker look.
func (c *cuts) recover(device *blockcache.RAM) (out []tree, err error) {
	w, err := c.open(device, c.form.opts)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Abandon() }()
	for _, a := range c.actors {
		t := tree{}
		err := w.View(func(v *ext4.FS) error {
			dir, err := fs.Sub(v.View(), a.name())
			if err != nil {
				return err
			}
			list, err := fs.ReadDir(dir, ".")
			for _, e := range list {
				p, err := fs.ReadFile(dir, e.Name())
				if err != nil {
					return err
				}
				t[e.Name()] = string(p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	err = w.Store.Checkpoint()
	if err == nil && !c.form.overlay {
		var v *ext4.FS
		if v, err = ext4.Open(device, ext4.Options{}); err == nil {
			report, cerr := v.Check(nil)
			if err = cerr; err == nil && !report.Clean() {
				err = fmt.Errorf("the checker: %+v", report.Problems[:min(3, len(report.Problems))])
			}
		}
	}
	return out, err
}

var concurrentForms = []form{crashForms[0], crashForms[1], crashForms[5], crashForms[7]}

// exploreConcurrent runs seeds until so many states were explored, or something is wrong.
func (f form) exploreConcurrent(t *testing.T, image []byte, first uint64, states int) (explored, seeds int, err error) {
	t.Helper()
	for seed := first; explored < states; seed++ {
		seeds++
		actors, tr, err := f.interleaved(t, image, seed)
		c := &cuts{form: f, actors: actors, rng: rand.New(rand.NewPCG(seed, 5))}
		if err == nil {
			err = c.explore(image, tr)
		}
		explored += c.states
		if err != nil {
			return explored, seeds, fmt.Errorf("%s, seed %d: %w", f.name, seed, err)
		}
	}
	return explored, seeds, nil
}

// TestConcurrent cuts concurrent operations, syncs, epochs and checkpoints at any instant: journal with ordered data and with data, and an overlay.
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
		explored, seeds, err := f.exploreConcurrent(t, f.image(t), first, states)
		if err != nil {
			t.Error(err)
		}
		fmt.Printf("%s, concurrent: %d crash states of %d interleavings\n", f.name, explored, seeds)
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
		states, seeds, err := c.form.exploreConcurrent(t, image, 1, 4000)
		mutant.Switch(mutant.None)
		if err == nil {
			t.Errorf("%s switched off: not noticed in %d states of %d interleavings", c.promise, states, seeds)
			continue
		}
		fmt.Printf("%s switched off: caught after %d states of %d interleavings: %.150s\n", c.promise, states, seeds, err)
	}
}
