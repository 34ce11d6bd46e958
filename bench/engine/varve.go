package engine

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// Varve is our store under a policy.
func Varve(p mvcc.Policy) Maker {
	return Maker{Name: "varve, " + p.String(), Form: "block",
		Open: func(dir string, durable bool) (Engine, error) { return openVarve(dir, durable, p) }}
}

type varve struct {
	s         *mvcc.Store
	home, log *blockcache.Disk
	durable   bool
	buffers   sync.Pool
}

func openVarve(dir string, durable bool, p mvcc.Policy) (Engine, error) {
	home, err := blockcache.CreateDisk(filepath.Join(dir, "blocks"), Blocks*BlockSize)
	if err != nil {
		return nil, err
	}
	log, err := blockcache.CreateDisk(filepath.Join(dir, "wal"), 0)
	if err != nil {
		return nil, err
	}
	s, _, err := mvcc.Open(mvcc.Options{BlockSize: BlockSize, Home: home, Durability: mvcc.NativeLog{Device: log},
		Policy: p})
	if err != nil {
		return nil, err
	}
	v := &varve{s: s, home: home, log: log, durable: durable}
	v.buffers.New = func() any { return new([Slot]byte) }
	return v, nil
}

// Update follows Engine.
func (v *varve) Update(_ int, n, slot int, change func([]byte)) (int, error) {
	buf := v.buffers.Get().(*[Slot]byte)
	out, err := v.s.UpdateWith(context.Background(), mvcc.TxOptions{Durable: v.durable}, func(tx *mvcc.Tx) error {
		at := uint32(slot * Slot)
		if err := tx.ReadRange(block.Number(n), at, buf[:]); err != nil {
			return err
		}
		if err := tx.Depend(block.Number(n), merge.Range{Off: at, Len: Slot}); err != nil {
			return err
		}
		change(buf[:])
		return tx.Edit(block.Number(n), merge.Set(at, buf[:]))
	})
	v.buffers.Put(buf)
	return out.Aborts, err
}

// View follows Engine.
func (v *varve) View() error {
	return v.s.View(context.Background(), func(tx *mvcc.Tx) error {
		for n := range block.Number(Blocks) {
			if _, err := tx.ReadBlock(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close follows Engine.
func (v *varve) Close() (int64, error) {
	if err := v.s.Flush(); err != nil {
		return 0, err
	}
	n := int64(v.s.Stats().WALBytes)
	err := v.s.Close()
	v.log.Close()
	v.home.Close()
	return n, err
}
