package stress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
)

// The fault model (docs/guarantees.md): a crash at any instant; of the writes since a device's last flush any may be
// lost, reordered, or torn at 512 bytes.
const sector = blockcache.Sector

// Explorer makes crash states from traces, recovers each, and compares it with the model.
type Explorer struct {
	States  int            // distinct ones that were explored
	Classes map[string]int // by class
	Failed  []string       // what was wrong, with how to repeat it

	seen    map[uint64]block.Seq // the highest acknowledged commit, by hash of the contents
	hash    maphash.Seed
	rng     *rand.Rand
	subsets int  // seeded subsets an instant
	stop    bool // at the first failure
}

// NewExplorer makes an explorer that takes so many random subsets an instant.
func NewExplorer(seed uint64, subsets int, stopAtFailure bool) *Explorer {
	return &Explorer{Classes: map[string]int{}, seen: map[uint64]block.Seq{}, hash: maphash.MakeSeed(),
		rng:     rand.New(rand.NewPCG(seed, 2)),
		subsets: subsets, stop: stopAtFailure}
}

// Scenarios are the scripts of single situations, each of which is explored in full; crashmodel.go explains the
// operations. At each write and flush of a script every crash point of the log is among the states: before the record
// is there, torn inside it, whole but not flushed, flushed but not acknowledged, and inside recovery.
var Scenarios = map[string]string{
	"during a buffered write":                   "w0",
	"after a commit, before sync":               "w0 flush",
	"after fsync":                               "w0 s0",
	"during epoch advance":                      "w0 w1 sync w2 sync",
	"several inodes, partly synced":             "w0 w1 w2 s1 w3 w0",
	"several writes in one epoch":               "w0 w0 x0 m0 w1 sync",
	"fsync, more writes, crash":                 "w0 s0 w0 w1 flush w0",
	"three inodes interleaved":                  "w0 w1 w2 s0 w0 w1 s2 w2 w1 s1",
	"epoch advances without writes":             "w0 sync empty empty w1 flush empty",
	"commit at a higher epoch than staged":      "w0 flush w1 sync w0 s1 w1 s0",
	"ordered data":                              "a0 s0 a1 flush sync a0",
	"a freed block is used again":               "a0 s0 f0 a1 s1 a1 f1 sync a2 a3 s2",
	"a freed block was changed through the log": "a0 sync a0 s0 f0 sync a1 w1 sync f1 a2 sync",
	"checkpoint":                                "w0 m1 sync checkpoint w0 checkpoint w1 flush",
	"checkpoint of what is not durable":         "w0 checkpoint w1 x2 checkpoint m3",
	"merged commits":                            "m0 m0 sync m1 flush m0 s0",
	"the log wraps": strings.Repeat("w0 w1 x2 m3 sync ", 12) + "checkpoint " + strings.Repeat("x0 m1 w2 x3 sync ", 12) +
		"checkpoint w0 flush w1 s0 " +
		strings.Repeat("w0 x1 m2 m3 sync ", 12) + "checkpoint w0 s0 w1",
}

// Scenario explores one script.
func (x *Explorer) Scenario(name, script string) error {
	tr, m, _, err := record(1, script, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return x.explore(tr, m, fmt.Sprintf("%s (%s)", name, script))
}

// Random explores a random workload of so many steps.
func (x *Explorer) Random(seed uint64, steps int) error {
	tr, m, did, err := record(seed, "", steps)
	if err != nil {
		return fmt.Errorf("seed %d, after %v: %w", seed, did, err)
	}
	return x.explore(tr, m, fmt.Sprintf("seed %d, %d steps", seed, steps))
}

var errEnough = errors.New("one failure is enough")

// disks is the contents of both devices.
type disks [2][]byte

func (d disks) clone() disks { return disks{bytes.Clone(d[0]), bytes.Clone(d[1])} }

// write applies a write, or only the sectors of it for which keep is true.
func (d *disks) write(e blockcache.Event, keep func(i int) bool) {
	d[e.Device] = e.Apply(d[e.Device], keep)
}

// flush makes the writes that a flush covers durable, and returns the others.
func (d *disks) flush(e blockcache.Event, open []blockcache.Event) (rest []blockcache.Event) {
	for _, o := range open {
		if e.Covers(o) {
			d.write(o, nil)
		} else {
			rest = append(rest, o)
		}
	}
	return rest
}

// explore goes through the instants of a trace.
func (x *Explorer) explore(tr *blockcache.Trace, m *model, what string) error {
	flushed := disks{make([]byte, crashBlocks*int(crashBlock)), nil}
	var open []blockcache.Event // since the last flush of their device
	acked := block.Seq(0)
	x.check(flushed, acked, m, what, "before the log was made")
	for i, e := range tr.Events() {
		switch {
		case e.Mark != "":
			v, err := strconv.ParseUint(e.Mark, 10, 64)
			if err != nil {
				return err
			}
			acked = max(acked, block.Seq(v))
			x.check(all(flushed, open), acked, m, what, "acknowledged")
			x.check(flushed, acked, m, what, "acknowledged, the rest lost")
		case e.Flush():
			open = flushed.flush(e, open)
			x.check(all(flushed, open), acked, m, what, "flushed, not acknowledged")
		default:
			open = append(open, e)
			x.instant(flushed, open, acked, m, fmt.Sprintf("%s, event %d", what, i))
		}
		if x.stop && len(x.Failed) > 0 {
			return errEnough
		}
	}
	return nil
}

func all(flushed disks, open []blockcache.Event) disks {
	d := flushed.clone()
	for _, e := range open {
		d.write(e, nil)
	}
	return d
}

// instant makes the states of a crash after the last of the writes that are not flushed.
func (x *Explorer) instant(flushed disks, open []blockcache.Event, acked block.Seq, m *model, what string) {
	x.check(flushed, acked, m, what, "nothing of what is not flushed")
	last := open[len(open)-1]
	before := all(flushed, open[:len(open)-1])
	sectors := (len(last.Data) + sector - 1) / sector
	for cut := 1; cut <= sectors; cut++ { // torn: a prefix of its sectors; then a suffix
		d := before.clone()
		d.write(last, func(i int) bool { return i < cut })
		x.check(d, acked, m, what, "torn: the first sectors")
		d = before.clone()
		d.write(last, func(i int) bool { return i >= cut })
		x.check(d, acked, m, what, "torn: the last sectors")
	}
	x.check(all(flushed, open), acked, m, what, "all that was written")
	for i := range open { // one lost, or only one there
		d, only := flushed.clone(), flushed.clone()
		for j, e := range open {
			if j != i {
				d.write(e, nil)
			}
		}
		only.write(open[i], nil)
		x.check(d, acked, m, what, "one write lost")
		x.check(only, acked, m, what, "only one write there")
	}
	for range x.subsets {
		x.check(x.subset(flushed, open), acked, m, what, "a random subset, torn and reordered")
	}
}

// subset is a random subset of the writes that are not flushed, torn and reordered.
func (x *Explorer) subset(flushed disks, open []blockcache.Event) disks {
	d := flushed.clone()
	order := x.rng.Perm(len(open))
	if x.rng.IntN(2) == 0 { // in the order of the writes, where they do not overlap the order does not matter
		for i := range order {
			order[i] = i
		}
	}
	for _, i := range order {
		switch x.rng.IntN(4) {
		case 0: // lost
		case 1:
			bits := x.rng.Uint64()
			d.write(open[i], func(k int) bool { return bits>>(k%64)&1 == 1 })
		default:
			d.write(open[i], nil)
		}
	}
	return d
}

// check recovers a state that was not seen before, and compares it with the model.
func (x *Explorer) check(d disks, acked block.Seq, m *model, what, class string) {
	if !x.fresh(d, acked, class) || x.stop && len(x.Failed) > 0 {
		return
	}
	got, events, err := x.recover(d.clone(), acked, m)
	if err != nil {
		x.fail(what, class, err)
		return
	}
	if x.States%8 == 0 {
		x.cutRecovery(d, events, got, acked, m, what, class)
	}
}

// cutRecovery cuts the power inside a recovery, and recovers again: the same result (W5). The last cut is after all of
// it: a second recovery changes nothing.
func (x *Explorer) cutRecovery(d disks, events []blockcache.Event, got, acked block.Seq, m *model, what, class string) {
	flushed := d.clone()
	var open []blockcache.Event
	for _, e := range events {
		if e.Flush() {
			open = flushed.flush(e, open)
			continue
		}
		torn := all(flushed, open)
		torn.write(e, func(i int) bool { return i%2 == 0 })
		open = append(open, e)
		for _, s := range []disks{torn, all(flushed, open), x.subset(flushed, open)} {
			if !x.fresh(s, acked, "inside recovery") {
				continue
			}
			second, _, err := x.recover(s.clone(), acked, m)
			if err == nil && second != got {
				err = fmt.Errorf("recovered to commit %d, and to %d after a crash inside recovery", got, second)
			}
			if err != nil {
				x.fail(what, class+", then inside recovery", err)
				return
			}
		}
	}
}

// fresh reports whether a state must be explored: it is new, or more was acknowledged now than when it was explored. A
// state with new contents is counted.
func (x *Explorer) fresh(d disks, acked block.Seq, class string) bool {
	var h maphash.Hash
	h.SetSeed(x.hash)
	_, _ = h.Write(d[0])
	_, _ = h.Write(d[1])
	sum := h.Sum64()
	highest, seen := x.seen[sum]
	if !seen {
		x.States++
		x.Classes[class]++
	}
	if seen && highest >= acked {
		return false // at least as much was acknowledged then, and it was there
	}
	x.seen[sum] = acked
	return true
}

func (x *Explorer) fail(what, class string, err error) {
	if len(x.Failed) < 20 {
		x.Failed = append(x.Failed, fmt.Sprintf("%s; %s: %v", what, class, err))
	}
}

// recover opens a store over a state, compares what is there with the model (W6), and shows that the store goes on.
// It returns the commit that it came to, and what the recovery wrote.
func (x *Explorer) recover(d disks, acked block.Seq, m *model) (block.Seq, []blockcache.Event, error) {
	tr := &blockcache.Trace{}
	home, log := blockcache.NewRAM(d[0]), blockcache.NewRAM(d[1])
	s, rec, err := mvcc.Open(crashOptions(blockcache.Record(home, tr, crashHome), blockcache.Record(log, tr, crashLog)))
	events := tr.Events()
	if err != nil {
		return 0, nil, err
	}
	defer s.Abandon()
	if rec.Last < acked {
		return 0, nil, fmt.Errorf("commit %d was acknowledged as durable, and recovery ends at %d", acked, rec.Last)
	}
	if err := m.compare(home.Bytes(), rec.Last); err != nil {
		return 0, nil, err
	}
	if x.States%64 == 0 {
		err = s.Update(context.Background(), func(tx *mvcc.Tx) error { return tx.Edit(0, setPointers(nil)) })
		if err == nil {
			err = s.Sync(context.Background())
		}
	}
	return rec.Last, events, err
}
