package stress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/wal"
)

// The geometry of the crash workloads: small, so that there are many states a second.
const (
	crashBlock    = block.Size(1024)
	crashFiles    = 4  // blocks 0 to 3: one inode-like block a group
	crashFirst    = 4  // blocks from here on are allocated, filled and freed
	crashBlocks   = 12 // in all
	crashSegment  = 4096
	crashHome     = 0 // number of the home device in the trace
	crashLog      = 1
	crashPointers = 512 // offset in a file's block of its list of data blocks: a count and numbers, one byte each
)

// model is what the blocks must hold after each commit, by serial execution of the edits: nothing of it comes from the
// store.
type model struct {
	versions map[block.Number][]modelVersion
	last     block.Seq
}

// modelVersion is the contents of a block from a commit on; nil means that anything may be there, because the block is
// free.
type modelVersion struct {
	seq  block.Seq
	data []byte
}

func newModel() *model {
	m := &model{versions: map[block.Number][]modelVersion{}}
	for n := range block.Number(crashBlocks) {
		v := modelVersion{}
		if n < crashFirst {
			v.data = make([]byte, crashBlock)
		}
		m.versions[n] = []modelVersion{v}
	}
	return m
}

// at returns the contents of a block at a commit.
func (m *model) at(n block.Number, seq block.Seq) []byte {
	vs := m.versions[n]
	i := len(vs) - 1
	for vs[i].seq > seq {
		i--
	}
	return vs[i].data
}

func (m *model) put(n block.Number, seq block.Seq, data []byte) {
	m.versions[n] = append(m.versions[n], modelVersion{seq, data})
	m.last = max(m.last, seq)
}

// compare says in what an image differs from the model at a commit.
func (m *model) compare(image []byte, seq block.Seq) error {
	for n := range block.Number(crashBlocks) {
		want := m.at(n, seq)
		got := image[crashBlock.Offset(n):][:crashBlock]
		if want != nil && !bytes.Equal(want, got) {
			i := 0
			for want[i] == got[i] {
				i++
			}
			return fmt.Errorf("%v at commit %d: byte %d is %d, and must be %d", n, seq, i, got[i], want[i])
		}
	}
	return nil
}

// driver runs one workload on a real store over recording devices, and keeps the model beside it.
type driver struct {
	rng   *rand.Rand
	trace *blockcache.Trace
	store *mvcc.Store
	model *model
	used  map[block.Number]int       // which file has a data block
	freed map[block.Number]block.Seq // by data block: the commit that freed it last
	log   []string
}

var crashCounter = merge.Field{Off: 0, Width: 8}

// errScript is a mistake in a script, not in the store.
var errScript = errors.New("script")

// record runs a script, or a random workload of so many steps, and returns its trace and its model.
func record(seed uint64, script string, steps int) (tr *blockcache.Trace, m *model, did []string, err error) {
	d := &driver{rng: rand.New(rand.NewPCG(seed, 1)), trace: &blockcache.Trace{}, model: newModel(),
		used: map[block.Number]int{}, freed: map[block.Number]block.Seq{}}
	home := blockcache.Record(blockcache.NewRAM(make([]byte, crashBlocks*int(crashBlock))), d.trace, crashHome)
	log := blockcache.Record(blockcache.NewRAM(nil), d.trace, crashLog)
	d.store, _, err = mvcc.Open(crashOptions(home, log))
	if err != nil {
		return nil, nil, nil, err
	}
	defer d.store.Abandon()
	if script != "" {
		for _, op := range strings.Fields(script) {
			if err = d.do(op); err != nil {
				return nil, nil, d.log, fmt.Errorf("%s: %w", op, err)
			}
		}
	}
	for range steps {
		if err = d.do(d.random()); err != nil {
			return nil, nil, d.log, err
		}
	}
	return d.trace, d.model, d.log, nil
}

func crashOptions(home, log blockcache.Writable) mvcc.Options {
	return mvcc.Options{BlockSize: crashBlock, Home: home,
		Durability: mvcc.NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: crashSegment,
			Gather: 2 * crashSegment, Identity: wal.Identity{1, 2, 3}}}} // what is gathered is kept free on the device, too
}

// random is the next operation of a random workload.
func (d *driver) random() string {
	file := func() string { return fmt.Sprint(d.rng.IntN(crashFiles)) }
	switch k := d.rng.IntN(20); {
	case k < 6:
		return "w" + file()
	case k < 9:
		return "m" + file()
	case k < 11:
		return "a" + file()
	case k < 13:
		return "f" + file()
	case k < 15:
		return "s" + file()
	case k < 16:
		return "sync"
	case k < 17:
		return "flush"
	case k < 18:
		return "x" + file()
	case k < 19:
		return "empty"
	}
	return "checkpoint"
}

// do runs one operation:
//
//	wN  a buffered write of file N        mN  two transactions on file N at once, the second merged
//	aN  a new data block for file N       fN  free a data block of file N
//	xN  a transaction over N and its neighbour   sN  fsync of file N
//	sync, flush, checkpoint, empty (an epoch without writes)
func (d *driver) do(op string) error {
	d.log = append(d.log, op)
	ctx := context.Background()
	switch op {
	case "sync", "empty":
		if err := d.store.Sync(ctx); err != nil {
			return err
		}
		d.promise(d.store.Published())
		return nil
	case "flush":
		return d.store.Flush()
	case "checkpoint":
		return d.store.Checkpoint()
	}
	if len(op) != 2 || op[1] < '0' || op[1] >= '0'+crashFiles {
		return errScript
	}
	n := block.Number(op[1] - '0')
	switch op[0] {
	case 'w':
		return d.write(n)
	case 'x':
		return d.write(n, (n+1)%crashFiles)
	case 'm':
		return d.merge(n)
	case 'a':
		return d.allocate(n)
	case 'f':
		return d.free(n)
	case 's':
		st := d.store.Standing(uint64(n))
		if err := d.store.SyncGroup(ctx, uint64(n)); err != nil {
			return err
		}
		d.promise(st.Visible)
		return nil
	}
	return errScript
}

// promise notes in the trace that everything up to a commit was acknowledged as durable.
func (d *driver) promise(seq block.Seq) { d.trace.Note(fmt.Sprint(uint64(seq))) }

// change is a transaction's edits, by block.
type change struct {
	n     block.Number
	edits []merge.Edit
}

// edit makes some edits of a file's block.
func (d *driver) edit(n block.Number) change {
	data := binary.LittleEndian.AppendUint64(nil, d.rng.Uint64())
	slot := uint32(64 + 8*d.rng.IntN(32))
	return change{n, []merge.Edit{merge.Add(crashCounter, 1+d.rng.Int64N(5), 0, noLimit), merge.Set(slot, data)}}
}

func (d *driver) begin() (*mvcc.Tx, error) {
	return d.store.Begin(context.Background(), mvcc.TxOptions{})
}

func apply(tx *mvcc.Tx, cs []change) error {
	for _, c := range cs {
		tx.Group(uint64(c.n))
		for _, e := range c.edits {
			if err := tx.Edit(c.n, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// committed runs the edits on the model, serially.
func (d *driver) committed(tx *mvcc.Tx, cs []change) error {
	seq := tx.Seq()
	for _, c := range cs {
		b := bytes.Clone(d.model.at(c.n, seq))
		for i := range c.edits {
			if _, err := merge.Apply(b, &c.edits[i]); err != nil {
				return err
			}
		}
		d.model.put(c.n, seq, b)
	}
	return nil
}

// modelChange is what a block holds from a commit on, beside the commit's edits.
type modelChange struct {
	n    block.Number
	data []byte
}

// transact runs edits, and what else the transaction does, in one transaction, and then on the model.
func (d *driver) transact(cs []change, also func(*mvcc.Tx) error, models ...modelChange) error {
	tx, err := d.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if also != nil {
		if err := also(tx); err != nil {
			return err
		}
	}
	if err := apply(tx, cs); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, m := range models {
		d.model.put(m.n, tx.Seq(), m.data)
	}
	return d.committed(tx, cs)
}

func (d *driver) write(ns ...block.Number) error {
	var cs []change
	for _, n := range ns {
		cs = append(cs, d.edit(n))
	}
	return d.transact(cs, nil)
}

// merge runs two transactions on one block at once, on disjoint slots and one counter.
func (d *driver) merge(n block.Number) error {
	one, two := []change{d.edit(n)}, []change{{n,
		[]merge.Edit{merge.Add(crashCounter, 7, 0, noLimit), merge.Set(400, []byte{byte(d.rng.Uint32()), 1})}}}
	a, err := d.begin()
	if err != nil {
		return err
	}
	defer a.Rollback()
	b, err := d.begin()
	if err != nil {
		return err
	}
	defer b.Rollback()
	if err := errors.Join(apply(a, one), apply(b, two)); err != nil {
		return err
	}
	if err := a.Commit(); err != nil {
		return err
	}
	if err := d.committed(a, one); err != nil {
		return err
	}
	if err := b.Commit(); err != nil {
		return err
	}
	return d.committed(b, two)
}

// pointers is the data blocks of a file.
func pointers(b []byte) []byte { return b[crashPointers+1:][:b[crashPointers]] }

func setPointers(list []byte) merge.Edit {
	return merge.Set(crashPointers, append([]byte{byte(len(list))}, list...))
}

// allocate gives a file a new data block: its contents go home before the commit that points at it (W3).
func (d *driver) allocate(n block.Number) error {
	for b := block.Number(crashFirst); b < crashBlocks; b++ {
		if _, taken := d.used[b]; taken || !d.store.Reusable(d.freed[b]) {
			continue
		}
		data := make([]byte, crashBlock)
		for i := range data {
			data[i] = byte(d.rng.Uint32())
		}
		list := append(slices.Clone(pointers(d.model.at(n, d.model.last))), byte(b))
		cs := []change{{n, []merge.Edit{setPointers(list)}}}
		d.used[b] = int(n)
		err := d.transact(cs, func(tx *mvcc.Tx) error { return tx.WriteNew(b, data) }, modelChange{b, data})
		if err != nil {
			return err
		}
		if d.rng.IntN(2) == 0 {
			return d.touchData(b)
		}
		return nil
	}
	return nil // none is free yet
}

func (d *driver) touchData(b block.Number) error {
	cs := []change{{b, []merge.Edit{merge.Set(uint32(d.rng.IntN(64)*8), []byte("changed!"))}}}
	return d.transact(cs, nil)
}

// free takes a file's first data block away; from then on it may hold anything.
func (d *driver) free(n block.Number) error {
	list := pointers(d.model.at(n, d.model.last))
	if len(list) == 0 {
		return nil
	}
	b := block.Number(list[0])
	cs := []change{{n, []merge.Edit{setPointers(slices.Clone(list[1:]))}}}
	delete(d.used, b)
	return d.transact(cs, func(tx *mvcc.Tx) error {
		tx.Free(b)
		tx.Sequenced(func(seq block.Seq) { d.freed[b] = seq })
		return nil
	}, modelChange{b, nil})
}
