package stress

import (
	"context"
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// registerCount is how many registers the block has, 64 bytes apart.
const registerCount = 8

// increments is the workload of counting without additions: each writer reads a register and sets it to one more. Two
// writers that read the same number set equal bytes, and one of the two updates is lost if both stand.
type increments struct{ run *Run }

func newRegisters(r *Run) load                    { return &increments{r} }
func (g *increments) setup(context.Context) error { return nil }
func (g *increments) equalBytes() bool            { return true }
func (g *increments) touches() int                { return 1 }

func (g *increments) step(tx *mvcc.Tx, w *writer) (func(), error) {
	const n = block.Number(0)
	i := w.rng.IntN(registerCount)
	b := w.buf[:8]
	if err := tx.ReadRange(n, uint32(i*64), b); err != nil {
		return nil, err
	}
	v := binary.LittleEndian.Uint64(b)
	w.read(key(n, i), v)
	w.wrote(key(n, i), v+1, v)
	binary.LittleEndian.PutUint64(b, v+1)
	return nothing, tx.Edit(n, merge.Set(uint32(i*64), b))
}

func (g *increments) check(tx *mvcc.Tx, running bool) []string {
	b, err := tx.ReadBlock(0)
	if err != nil {
		return []string{err.Error()}
	}
	total := uint64(0)
	for i := range registerCount {
		total += binary.LittleEndian.Uint64(b[i*64:])
	}
	return g.run.compare("increments of registers", total, running)
}
