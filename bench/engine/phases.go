package engine

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// phaseWriters is how many writers a run that changes phase has.
const phaseWriters = 32

// Phases runs a load that changes: slots of one block, which merge; then a transaction that thinks for long and
// replaces the same bytes, so that nothing merges, beside others that have blocks of their own; and again. It returns
// the commits and what each tenth of a phase came to.
func Phases(p mvcc.Policy, phase time.Duration) (commits uint64, samples []Sample, err error) {
	dir, err := os.MkdirTemp("", "varve-phases-")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	home, err := blockcache.CreateDisk(filepath.Join(dir, "blocks"), Blocks*BlockSize)
	if err != nil {
		return 0, nil, err
	}
	defer home.Close()
	log, err := blockcache.CreateDisk(filepath.Join(dir, "wal"), 0)
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	s, _, err := mvcc.Open(mvcc.Options{BlockSize: BlockSize, Home: home, Durability: mvcc.NativeLog{Device: log},
		Policy: p})
	if err != nil {
		return 0, nil, err
	}
	defer s.Close()
	var clash, stop atomic.Bool
	var done atomic.Uint64
	var wg sync.WaitGroup
	var once sync.Once
	for id := range phaseWriters {
		wg.Go(func() {
			buf := make([]byte, Slot)
			for !stop.Load() {
				e := phaseStep(s, id, clash.Load(), buf)
				if e != nil {
					once.Do(func() { err = e })
					return
				}
				done.Add(1)
			}
		})
	}
	began, last := time.Now(), uint64(0)
	for i := range 4 {
		clash.Store(i%2 == 1)
		for range 10 {
			time.Sleep(phase / 10)
			n := done.Load()
			samples = append(samples, Sample{time.Since(began), p.String(), float64(n-last) / (phase / 10).Seconds()})
			last = n
		}
	}
	stop.Store(true)
	wg.Wait()
	return done.Load(), samples, err
}

// phaseStep is one transaction. In a clash half of the writers replace the same bytes after some thinking; a lost
// attempt is that thinking lost.
func phaseStep(s *mvcc.Store, id int, clash bool, buf []byte) error {
	return s.Update(context.Background(), func(tx *mvcc.Tx) error {
		n, at := block.Number(0), uint32(id%Slots*Slot)
		if clash {
			at = 0
			if id%2 == 0 {
				n = block.Number(1 + id)
			}
		}
		if err := tx.ReadRange(n, at, buf); err != nil {
			return err
		}
		if err := tx.Depend(n, merge.Range{Off: at, Len: Slot}); err != nil {
			return err
		}
		v := binary.LittleEndian.Uint64(buf)
		if clash {
			for range 20_000 { // some ten microseconds
				v = v*6364136223846793005 + 1
			}
		}
		binary.LittleEndian.PutUint64(buf, v+1)
		return tx.Edit(n, merge.Set(at, buf))
	})
}
