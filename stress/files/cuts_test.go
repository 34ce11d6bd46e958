//go:build testhooks

package files

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
)

// cuts explores the crash states of runs of concurrent actors.
type cuts struct {
	form   form
	open   Opener
	x      *Explorer // for its judges, e2fsck and the kernel
	rng    *rand.Rand
	judges bool // some states are recovered twice, cut inside recovery, or go to a judge

	states int // that were recovered
	inside int // of them of a crash inside the recovery of another one
	twice  int // that were recovered a second time

	actors []*actor // of the run at hand
	began  [][]int  // by actor and operation: when, in events
	ended  [][]int
	synced []int // by actor: its last operation that was acknowledged as durable
}

// One state of so many is recovered twice, is cut inside its recovery, or goes to a judge.
const (
	everyTwice, everyInside  = 8, 32
	everyFsck, everyKernel   = 24, 400
	insideInstants, insideOf = 4, 3 // instants of a recovery that are cut, and states of each
)

// cuts makes an explorer of an image's crash states.
func (f form) cuts(t *testing.T, image []byte, seed uint64, judges bool) *cuts {
	c := &cuts{form: f, x: f.explorer(image, seed, t.TempDir()), rng: rand.New(rand.NewPCG(seed, 5)), judges: judges}
	_, c.open = f.device(image)
	if os.Geteuid() == 0 && !f.overlay {
		c.x.Mount = func(path string) (State, error) { return kernelTree(t, path) }
	}
	return c
}

// explore cuts a trace at its writes and flushes, and returns what was wrong first.
func (c *cuts) explore(actors []*actor, image []byte, tr *blockcache.Trace) error {
	i := &instant{flushed: NewMedium(c.form.before(image))}
	c.actors, c.began, c.ended, c.synced = actors, nil, nil, make([]int, len(actors))
	for range actors {
		c.began, c.ended = append(c.began, []int{0}), append(c.ended, []int{0})
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
				err = c.check(i.flushed)
			}
		case e.Flush():
			i.flush(e)
		default:
			i.open = append(i.open, e)
			if ready {
				err = c.cut(i)
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

// cut makes states of a crash after a write: nothing of what is not flushed, all of it, the last write torn, and a
// random subset, torn.
func (c *cuts) cut(i *instant) error {
	for _, img := range []*Medium{i.flushed, i.all(), c.torn(i), c.subset(i)} {
		if err := c.check(img); err != nil {
			return err
		}
	}
	return nil
}

// torn is all that was written, but of the last write the first or the last sectors only.
func (c *cuts) torn(i *instant) *Medium {
	last := i.open[len(i.open)-1]
	cut, first := 1+c.rng.IntN(max(1, len(last.Data)/blockcache.Sector)), c.rng.IntN(2) == 0
	before := instant{flushed: i.flushed, open: i.open[:len(i.open)-1]}
	img := before.all()
	img.Apply(last, func(k int) bool { return k < cut == first })
	return img
}

// subset is a random subset of what was written and not flushed, torn.
func (c *cuts) subset(i *instant) *Medium {
	fates, bits := make([]int, len(i.open)), make([]uint64, len(i.open))
	for j := range fates {
		fates[j], bits[j] = c.rng.IntN(4), c.rng.Uint64()
	}
	return i.survive(func(j, k int) bool { return fates[j] > 1 || fates[j] == 1 && bits[j]>>(k%64)&1 == 1 })
}

// check recovers a state: what is there is legal, a second recovery changes nothing, one that is cut itself comes to
// the same, and the judges are content.
func (c *cuts) check(img *Medium) error {
	c.states++
	n, device := c.states, img.Clone()
	got, events, err := c.recover(device)
	if err == nil {
		err = c.legal(got)
	}
	if err == nil && c.judges {
		err = c.more(img, device, events, got, n)
	}
	return err
}

// more is for some states only: it takes its time.
func (c *cuts) more(img, device *Medium, events []blockcache.Event, got State, n int) (err error) {
	if n%everyTwice == 0 {
		err = c.again(device, got, "the second recovery")
		c.twice++
	}
	if err == nil && n%everyInside == 0 {
		err = c.cutRecovery(img, events, got)
	}
	if err == nil && n%everyFsck == 0 {
		c.x.Judged++
		err = c.judged(img, device, got)
	}
	if err == nil && n%everyKernel == 0 && c.x.Mount != nil {
		c.x.Mounted++
		if err = c.x.mount(img, got); err != nil {
			err = fmt.Errorf("the kernel: %w", err)
		}
	}
	return err
}

// legal: each actor's directory is as after one of its operations, nothing acknowledged is missing, and what is there
// is a prefix.
func (c *cuts) legal(got State) error {
	low, high := make([]int, len(c.actors)), make([]int, len(c.actors))
	for i, a := range c.actors {
		there, err := a.treeOf(got)
		if err != nil {
			return err
		}
		low[i], high[i] = -1, -1
		for n := range min(len(a.states), len(c.began[i])) {
			if maps.Equal(a.states[n], there) {
				if low[i] < 0 {
					low[i] = n
				}
				high[i] = n
			}
		}
		if high[i] < c.synced[i] {
			return fmt.Errorf("%s is as after operation %d, and %d were acknowledged: %v", a.name(), high[i], c.synced[i],
				describe(there))
		}
	}
	for i := range c.actors { // if B is there, so is each A that ended before B began
		for j := range c.actors {
			for n := high[j] + 1; n < len(c.ended[j]); n++ {
				if c.ended[j][n] < c.began[i][low[i]] {
					return fmt.Errorf("operation %d of actor %d is there, and %d of actor %d, which ended before, is not", low[i], i,
						n, j)
				}
			}
		}
	}
	return nil
}

// treeOf is the actor's directory in a tree.
func (a *actor) treeOf(s State) (tree, error) {
	if s["/"+a.name()] == nil {
		return nil, fmt.Errorf("%s is not there", a.name())
	}
	t := tree{}
	for path, n := range s {
		if name, ok := strings.CutPrefix(path, "/"+a.name()+"/"); ok {
			t[name] = string(n.Data)
			if v, ok := n.Xattrs[attribute[1:]]; ok {
				t[name+attribute] = v
			}
		}
	}
	return t, nil
}

func describe(t tree) (out []string) {
	for name, data := range t {
		out = append(out, fmt.Sprintf("%s: %d bytes", name, len(data)))
	}
	return out
}
