package files

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/volume"
)

// Explorer makes crash states from the trace of a workload, recovers each, and compares the tree with the model.
type Explorer struct {
	States  int            // distinct ones that were explored
	Classes map[string]int // by class
	Judged  int            // of them by e2fsck
	Mounted int            // and by the kernel
	Failed  []string       // what was wrong, with how to repeat it

	// Subsets is how many random subsets of what was not flushed are made an instant, Cuts how many torn forms of a write.
	Subsets, Cuts int
	// Limit is about how many states are made of a trace, beside those inside recovery; 0: all. Instants are drawn at
	// random, over the whole trace.
	Limit int
	// Inside says that the recovery of one state of so many is cut, too; 0 is none.
	Inside int
	// Fsck and Kernel say that one state of so many is also recovered by e2fsck, and by Mount; 0 is none.
	Fsck, Kernel int
	// Mount mounts an image with the kernel, which recovers it, and returns its tree.
	Mount func(image string) (State, error)
	Stop  bool // at the first failure
	Dir   string
	// Open opens a device. Image makes the image of a device that was closed, where it is not the device itself; then no
	// others than varve recover it.
	Open  Opener
	Image func(device *Medium) (blockcache.Device, error)
	// Repair takes the place of recovery where there is no journal: it has a state repaired, and looks at what is left of
	// the operations that were promised, those up to durable, when those up to now had begun.
	Repair func(img *Medium, m *Model, durable, now int) error
	// Closed looks at a device after a clean unmount, where it is none that e2fsck takes by itself.
	Closed func(device *Medium) error
	// At is where, in the image of a state, each device of a trace begins; nil: there is one.
	At []int64

	opts volume.WriteOptions
	seen map[uint64]int // by sum of the contents: the most that was promised
	rng  *rand.Rand
}

// NewExplorer makes an explorer for workloads with these options.
func NewExplorer(seed uint64, opts volume.WriteOptions, dir string) *Explorer {
	return &Explorer{Classes: map[string]int{}, Open: volume.OpenOn, Subsets: 2, Cuts: 2, Inside: 16, Dir: dir, opts: opts,
		seen: map[uint64]int{}, rng: rand.New(rand.NewPCG(seed, 3))}
}

var errEnough = errors.New("one failure is enough")

// instant is one moment of a trace.
type instant struct {
	flushed      *Medium
	open         []blockcache.Event // since the last flush
	durable, now int                // operations that were promised, and that had begun
}

// all is the device where everything that was asked for is there.
func (i *instant) all() *Medium {
	img := i.flushed.Clone()
	for _, e := range i.open {
		img.Apply(e, nil)
	}
	return img
}

// Explore goes through the instants of a trace that began with an image.
func (x *Explorer) Explore(image []byte, tr *blockcache.Trace, m *Model, what string) error {
	i := &instant{flushed: NewMedium(image), now: 1}
	events := tr.Events()
	share := x.share(events)
	for k, e := range events {
		at := fmt.Sprintf("%s, event %d", what, k)
		switch {
		case e.Mark != "":
			kind, number, _ := strings.Cut(e.Mark, " ")
			n, err := strconv.Atoi(number)
			if err != nil {
				return err
			}
			i.now = max(i.now, n+1)
			if kind == "sync" {
				i.durable = max(i.durable, n)
				x.check(i.flushed, i, m, at, "acknowledged, the rest lost")
			}
		case e.Flush():
			i.flush(e)
			x.check(i.flushed, i, m, at, "flushed")
		default:
			if x.At != nil {
				e.Offset += x.At[e.Device]
			}
			i.open = append(i.open, e)
			if x.rng.Float64() < share {
				x.written(i, m, at)
			}
		}
		if x.Stop && len(x.Failed) > 0 {
			return errEnough
		}
	}
	return nil
}

// share is the chance of an instant to be cut.
func (x *Explorer) share(events []blockcache.Event) float64 {
	if x.Limit == 0 {
		return 1
	}
	writes := 0
	for _, e := range events {
		if e.Data != nil {
			writes++
		}
	}
	perInstant := 3 + x.Subsets + x.Cuts
	return float64(x.Limit) / float64(max(1, writes*perInstant))
}

// flush makes the writes that a flush covers durable.
func (i *instant) flush(e blockcache.Event) {
	var rest []blockcache.Event
	for _, o := range i.open {
		if e.Covers(o) {
			i.flushed.Apply(o, nil)
		} else {
			rest = append(rest, o)
		}
	}
	i.open = rest
}

// written makes the states of a crash after the last of the writes that are not flushed.
func (x *Explorer) written(i *instant, m *Model, at string) {
	last := i.open[len(i.open)-1]
	x.check(i.all(), i, m, at, "all that was written")
	sectors := (len(last.Data) + blockcache.Sector - 1) / blockcache.Sector
	before := instant{flushed: i.flushed, open: i.open[:len(i.open)-1]}
	for c := range min(x.Cuts, sectors) {
		cut := 1 + x.rng.IntN(sectors)
		first := c%2 == 0
		torn := before.all()
		torn.Apply(last, func(k int) bool { return k < cut == first })
		x.check(torn, i, m, at, "torn")
	}
	lost := x.rng.IntN(len(i.open))
	x.check(i.survive(func(j, _ int) bool { return j != lost }), i, m, at, "one write lost")
	kept := map[int64]bool{}
	eachSector(i.open[lost], func(_ int, sector int64) { kept[sector] = true })
	only := i.flushed.Clone()
	for _, e := range i.open[:lost+1] {
		sectors := sectorsOf(e)
		only.Apply(e, func(k int) bool { return kept[sectors[k]] })
	}
	x.check(only, i, m, at, "only one write there")
	for range x.Subsets {
		fates := make([]int, len(i.open))
		bits := make([]uint64, len(i.open))
		for j := range fates {
			fates[j], bits[j] = x.rng.IntN(4), x.rng.Uint64()
		}
		x.check(i.survive(func(j, k int) bool { return fates[j] > 1 || fates[j] == 1 && bits[j]>>(k%64)&1 == 1 }), i, m, at,
			"a random subset, torn and reordered")
	}
}

// survive is the device where of each write those sectors got through that the function says: write j, its sector k. A
// sector that one write did not change on the medium is as before for all later ones, too: what goes to the medium is
// whole sectors, of which an older form is all that a lost or reordered write can leave.
func (i *instant) survive(through func(j, k int) bool) *Medium {
	img := i.flushed.Clone()
	dead := map[int64]bool{}
	for j, e := range i.open {
		sectors := sectorsOf(e)
		img.Apply(e, func(k int) bool {
			if !dead[sectors[k]] && !through(j, k) {
				dead[sectors[k]] = true
			}
			return !dead[sectors[k]]
		})
	}
	return img
}

// sectorsOf lists the sectors of the device that a write touches.
func sectorsOf(e blockcache.Event) (out []int64) {
	eachSector(e, func(_ int, sector int64) { out = append(out, sector) })
	return out
}

func eachSector(e blockcache.Event, do func(k int, sector int64)) {
	first := e.Offset / blockcache.Sector
	for k := int64(0); (first+k)*blockcache.Sector < e.Offset+int64(len(e.Data)); k++ {
		do(int(k), first+k)
	}
}

// check recovers a state that was not seen before, and compares it with the model.
func (x *Explorer) check(img *Medium, i *instant, m *Model, what, class string) {
	if x.Stop && len(x.Failed) > 0 || !x.fresh(img, i.durable, class) {
		return
	}
	fail := func(by string, err error) {
		if len(x.Failed) < 20 {
			x.Failed = append(x.Failed, fmt.Sprintf("%s; %s; recovered by %s: %v", what, class, by, err))
		}
	}
	if x.Repair != nil {
		if err := x.Repair(img, m, i.durable, min(i.now, len(m.States)-1)); err != nil {
			fail("e2fsck", err)
		}
		return
	}
	tree, events, err := x.recover(img.Clone())
	if err == nil {
		err = m.Allows(tree, i.durable, i.now, x.opts.JournalData)
	}
	if err != nil {
		fail("varve", err)
		return
	}
	if x.Inside > 0 && x.States%x.Inside == 0 {
		if err := x.again(img, tree, events); err != nil {
			fail("varve, after a crash inside recovery", err)
		}
	}
	if x.Image == nil && x.Fsck > 0 && x.States%x.Fsck == 0 {
		x.Judged++
		if err := x.judge(img, tree); err != nil {
			fail("e2fsck", err)
		}
	}
	if x.Image == nil && x.Kernel > 0 && x.States%x.Kernel == 0 {
		x.Mounted++
		if err := x.mount(img, tree); err != nil {
			fail("the kernel", err)
		}
	}
}

func (x *Explorer) fresh(img *Medium, durable int, class string) bool {
	sum := img.Sum()
	highest, seen := x.seen[sum]
	if seen && highest >= durable {
		return false
	}
	if !seen {
		x.States++
		x.Classes[class]++
	}
	x.seen[sum] = durable
	return true
}

// recover opens a state for writing, which recovers it, and returns its tree and what the recovery wrote. Now and then
// it also unmounts, and e2fsck looks.
func (x *Explorer) recover(device *Medium) (State, []blockcache.Event, error) {
	tr := &blockcache.Trace{}
	w, err := x.Open(blockcache.Record(device, tr, 0), x.opts)
	if err != nil {
		return nil, nil, err
	}
	events := tr.Events()
	tree, err := LiveTree(w)
	if err != nil || x.States%32 != 0 || x.Fsck == 0 {
		_ = w.Abandon()
		return tree, events, err
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	if x.Closed != nil {
		return tree, events, x.Closed(device)
	}
	closed := blockcache.Device(device)
	if x.Image != nil {
		if closed, err = x.Image(device); err != nil {
			return nil, nil, err
		}
	}
	path := filepath.Join(x.Dir, "closed")
	if err := writeFile(path, closed); err != nil {
		return nil, nil, err
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("after a clean unmount, e2fsck -fn: %w\n%s", err, out)
	}
	return tree, events, nil
}

// again crashes inside recovery, and recovers again: the same tree (W5). If the number of states is limited, so is
// that of the writes of the recovery that are cut.
func (x *Explorer) again(img *Medium, want State, events []blockcache.Event) error {
	part := img.Clone()
	for _, e := range events {
		if e.Flush() || e.Mark != "" {
			continue
		}
		torn := part.Clone()
		torn.Apply(e, func(i int) bool { return i%2 == 0 })
		part.Apply(e, nil)
		if x.Limit > 0 && x.rng.IntN(len(events)) >= x.Limit/8 {
			continue
		}
		for _, p := range []*Medium{torn, part} {
			if !x.fresh(p, 0, "inside recovery") {
				continue
			}
			got, _, err := x.recover(p.Clone())
			if err != nil {
				return err
			}
			if err := Same(want, got); err != nil {
				return err
			}
		}
	}
	return nil
}
