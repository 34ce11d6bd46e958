package stress

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const (
	logBlocks  = 4
	logStart   = 64 // bytes before the records
	recordSize = 24 // writer, its count, and their product
)

var (
	logUsed  = merge.Field{Off: 0, Width: 4}
	logTotal = merge.Field{Off: 8, Width: 8}
)

// logs is the workload of appending to a log. A full block is begun again by who finds it full.
type logs struct {
	run *Run
	now atomic.Int64 // block that is appended to
}

func newAppend(r *Run) load                 { return &logs{run: r} }
func (l *logs) setup(context.Context) error { return nil }

func (l *logs) step(tx *mvcc.Tx, w *writer) (func(), error) {
	at := l.now.Load()
	n := block.Number(at % logBlocks)
	le := binary.LittleEndian
	le.PutUint64(w.buf, uint64(w.id+1))
	le.PutUint64(w.buf[8:], w.count)
	le.PutUint64(w.buf[16:], uint64(w.id+1)*1_000_003^w.count)
	e := merge.Append(logUsed, logStart, uint32(l.run.store.BlockSize()), w.buf[:recordSize])
	err := tx.Edit(n, e)
	if errors.Is(err, merge.ErrRoom) {
		l.now.CompareAndSwap(at, at+1)
		n = block.Number((at + 1) % logBlocks)
		err = l.begin(tx, n, e)
	}
	if err != nil {
		return nil, err
	}
	return nothing, tx.Edit(n, merge.Add(logTotal, 1, 0, noLimit))
}

// begin appends to a block, and empties it first if it is full.
func (l *logs) begin(tx *mvcc.Tx, n block.Number, e merge.Edit) error {
	err := tx.Edit(n, e)
	if !errors.Is(err, merge.ErrRoom) {
		return err
	}
	if err := tx.Depend(n, merge.Range{Off: logUsed.Off, Len: 4}); err != nil {
		return err
	}
	if err := tx.Edit(n, merge.Set(logUsed.Off, make([]byte, 4))); err != nil {
		return err
	}
	return tx.Edit(n, e)
}

func (l *logs) check(tx *mvcc.Tx, running bool) (bad []string) {
	total := uint64(0)
	for n := range logBlocks {
		b, err := tx.ReadBlock(block.Number(n))
		if err != nil {
			return append(bad, err.Error())
		}
		total += logTotal.Get(b)
		used := int(logUsed.Get(b))
		if used%recordSize != 0 || used > len(b)-logStart {
			bad = append(bad, fmt.Sprintf("log block %d has %d bytes in use", n, used))
			continue
		}
		last := map[uint64]uint64{}
		for p := b[logStart : logStart+used]; len(p) > 0; p = p[recordSize:] {
			who, count := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
			sum := binary.LittleEndian.Uint64(p[16:])
			if sum != who*1_000_003^count {
				bad = append(bad, fmt.Sprintf("log block %d holds parts of two records", n))
			}
			if before, ok := last[who]; ok && before >= count {
				bad = append(bad, fmt.Sprintf("log block %d: writer %d's record %d lies after its record %d", n, who, count,
					before))
			}
			last[who] = count
		}
	}
	return append(bad, l.run.compare("appended records", total, running)...)
}
