package stress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const (
	bankBlocks   = 64
	bankAccounts = 16  // a block
	bankMoney    = 100 // of an account at first: it is soon without
	skewPairs    = 8
	readerBlocks = 64
)

// bank is the workload of transfers between accounts that must not go below zero.
type bank struct{ run *Run }

func newBank(r *Run) load { return &bank{r} }

func account(i int) (block.Number, merge.Field) {
	return block.Number(i / bankAccounts), merge.Field{Off: uint32(i % bankAccounts * 8), Width: 8}
}

func (k *bank) setup(ctx context.Context) error {
	return k.run.store.Update(ctx, func(tx *mvcc.Tx) error {
		b := make([]byte, 8)
		binary.LittleEndian.PutUint64(b, bankMoney)
		for i := range bankBlocks * bankAccounts {
			n, f := account(i)
			if err := tx.Edit(n, merge.Set(f.Off, b)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *bank) step(tx *mvcc.Tx, w *writer) (func(), error) {
	for {
		from, to := w.rng.IntN(bankBlocks*bankAccounts), w.rng.IntN(bankBlocks*bankAccounts)
		amount := 1 + w.rng.Int64N(50)
		n, f := account(from)
		err := tx.Edit(n, merge.Add(f, -amount, 0, noLimit))
		if errors.Is(err, merge.ErrBounds) {
			continue // not enough money: another pair
		}
		if err != nil {
			return nil, err
		}
		n, f = account(to)
		return nothing, tx.Edit(n, merge.Add(f, amount, 0, noLimit))
	}
}

func (k *bank) check(tx *mvcc.Tx, _ bool) (bad []string) {
	total := uint64(0)
	for i := range bankBlocks * bankAccounts {
		n, f := account(i)
		b, err := tx.ReadBlock(n)
		if err != nil {
			return []string{err.Error()}
		}
		total += f.Get(b)
		if v := f.Get(b); v > bankBlocks*bankAccounts*bankMoney {
			bad = append(bad, fmt.Sprintf("account %d has %d units of money: it is below zero", i, int64(v)))
		}
	}
	if want := uint64(bankBlocks * bankAccounts * bankMoney); total != want {
		bad = append(bad, fmt.Sprintf("there are %d units of money, not %d: a transfer was seen half", total, want))
	}
	return bad
}

// skew is the workload of pairs of which one must stay on. A transaction that sees both on turns one off, and declares
// no dependency on the other: under snapshot isolation both may go off, which is write skew.
type skew struct{ run *Run }

func newSkew(r *Run) load { return &skew{r} }

func (k *skew) setup(ctx context.Context) error {
	return k.run.store.Update(ctx, func(tx *mvcc.Tx) error {
		for n := range block.Number(2 * skewPairs) {
			if err := tx.Edit(n, merge.Set(0, binary.LittleEndian.AppendUint64(nil, 1<<63))); err != nil {
				return err
			}
		}
		return nil
	})
}

// on reads one of a pair: the highest bit says that it is on, the rest distinguishes its writes.
func (k *skew) on(tx *mvcc.Tx, w *writer, n block.Number) (value uint64, on bool, err error) {
	var b [8]byte
	if err := tx.ReadRange(n, 0, b[:]); err != nil {
		return 0, false, err
	}
	v := binary.LittleEndian.Uint64(b[:])
	w.read(key(n, 0), v&^(1<<63))
	return v &^ (1 << 63), v>>63 == 1, nil
}

func (k *skew) step(tx *mvcc.Tx, w *writer) (func(), error) {
	n := block.Number(w.rng.IntN(2 * skewPairs))
	mine, myOn, err := k.on(tx, w, n)
	if err != nil {
		return nil, err
	}
	_, otherOn, err := k.on(tx, w, n^1)
	if err != nil {
		return nil, err
	}
	if !myOn && !otherOn {
		k.run.skews.Add(1)
	}
	value := w.fresh()
	w.wrote(key(n, 0), value, mine)
	if !myOn || !otherOn {
		value |= 1 << 63 // put it right again
	}
	binary.LittleEndian.PutUint64(w.buf, value)
	return nothing, tx.Edit(n, merge.Set(0, w.buf[:8]))
}

func (k *skew) check(tx *mvcc.Tx, _ bool) (bad []string) {
	for n := block.Number(0); n < 2*skewPairs; n += 2 {
		off := 0
		for _, m := range []block.Number{n, n + 1} {
			b, err := tx.ReadBlock(m)
			if err != nil {
				return append(bad, err.Error())
			}
			if b[7]>>7 == 0 {
				off++
			}
		}
		if off == 2 {
			k.run.skews.Add(1)
			if k.run.cfg.Isolation == mvcc.Serializable {
				bad = append(bad, fmt.Sprintf("write skew: blocks %d and %d are both off", n, n+1))
			}
		}
	}
	return bad
}

// readers is the workload of long readers beside writers. A writer changes two partners together; a reader reads all of
// them slowly.
type readers struct{ run *Run }

func newReaders(r *Run) load                   { return &readers{r} }
func (k *readers) setup(context.Context) error { return nil }

// reads reports whether a writer only reads: each second one.
func (k *readers) reads(w *writer) bool { return w.id%2 == 1 }

func (k *readers) read(tx *mvcc.Tx, _ *writer) error {
	for _, bad := range k.check(tx, true) {
		k.run.violation(bad)
	}
	return nil
}

func (k *readers) step(tx *mvcc.Tx, w *writer) (func(), error) {
	n := block.Number(w.rng.IntN(readerBlocks / 2))
	slots := 64 // one a writer, with up to 128
	if w.rec != nil {
		slots = sharedSlots
	}
	off := uint32(w.id / 2 % slots * slotSize)
	var b [8]byte
	if err := tx.ReadRange(n, off, b[:]); err != nil {
		return nil, err
	}
	if err := tx.Depend(n, merge.Range{Off: off, Len: 8}); err != nil {
		return nil, err
	}
	prev, value := binary.LittleEndian.Uint64(b[:]), w.fresh()
	w.read(key(n, int(off)), prev)
	w.wrote(key(n, int(off)), value, prev)
	binary.LittleEndian.PutUint64(w.buf, value)
	if err := tx.Edit(n, merge.Set(off, w.buf[:8])); err != nil {
		return nil, err
	}
	return nothing, tx.Edit(n+readerBlocks/2, merge.Set(off, w.buf[:8]))
}

// check reads all blocks first, and compares them then: the bytes must stay as they were read (M2).
func (k *readers) check(tx *mvcc.Tx, _ bool) (bad []string) {
	var all [readerBlocks][]byte
	for n := range all {
		b, err := tx.ReadBlock(block.Number(n))
		if err != nil {
			return append(bad, err.Error())
		}
		all[n] = b
	}
	runtime.Gosched()
	for n := range readerBlocks / 2 {
		if !bytes.Equal(all[n], all[n+readerBlocks/2]) {
			bad = append(bad, fmt.Sprintf("blocks %d and %d, which change together, differ in one snapshot (M1)", n,
				n+readerBlocks/2))
		}
	}
	return bad
}
