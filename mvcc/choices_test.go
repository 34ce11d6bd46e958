package mvcc

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/varvefs/varve/internal/block"
)

// The benchmarks behind the choices that docs/design.md reports.

// BenchmarkIndex compares what could hold the chains: 4,096 blocks, one lookup in a hundred is a deletion and an
// insertion.
func BenchmarkIndex(b *testing.B) {
	type index interface {
		load(n block.Number) bool
		swap(n block.Number)
	}
	for name, ix := range map[string]index{"xsync.MapOf": newXsyncIndex(), "sync.Map": &syncIndex{},
		"64 maps with RWMutex": newShardIndex()} {
		for n := range block.Number(4096) {
			ix.swap(n)
		}
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				rng := rand.New(rand.NewPCG(1, 2))
				for p.Next() {
					n := block.Number(rng.Uint32N(4096))
					if rng.Uint32N(100) == 0 {
						ix.swap(n)
					} else {
						ix.load(n)
					}
				}
			})
		})
	}
}

type xsyncIndex struct {
	m *xsync.MapOf[block.Number, *chain]
}

func newXsyncIndex() *xsyncIndex               { return &xsyncIndex{xsync.NewMapOf[block.Number, *chain]()} }
func (x *xsyncIndex) load(n block.Number) bool { _, ok := x.m.Load(n); return ok }
func (x *xsyncIndex) swap(n block.Number)      { x.m.Delete(n); x.m.Store(n, &chain{}) }

type syncIndex struct{ m sync.Map }

func (x *syncIndex) load(n block.Number) bool { _, ok := x.m.Load(n); return ok }
func (x *syncIndex) swap(n block.Number)      { x.m.Delete(n); x.m.Store(n, &chain{}) }

type lockedIndex [64]struct {
	mu sync.RWMutex
	m  map[block.Number]*chain
	_  [32]byte
}

func newShardIndex() *lockedIndex {
	x := &lockedIndex{}
	for i := range x {
		x[i].m = map[block.Number]*chain{}
	}
	return x
}

func (x *lockedIndex) load(n block.Number) bool {
	s := &x[n%64]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[n] != nil
}

func (x *lockedIndex) swap(n block.Number) {
	s := &x[n%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, n)
	s.m[n] = &chain{}
}

// BenchmarkCounter compares a striped counter with an atomic one.
func BenchmarkCounter(b *testing.B) {
	striped := xsync.NewCounter()
	var one atomic.Int64
	b.Run("xsync.Counter", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				striped.Inc()
			}
		})
	})
	b.Run("atomic.Int64", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				one.Add(1)
			}
		})
	})
}

// BenchmarkPack packs and unpacks a 4 KiB delta of inode-like records, and reports the size that is left.
func BenchmarkPack(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 4096)
	for i := 0; i < len(data); i += 256 { // sixteen inodes: some fields, many zeros
		for j := range 60 {
			data[i+j] = byte(rng.Uint32())
		}
	}
	for _, c := range []codec{packS2, packZstd} {
		packed, ok := c.pack(data)
		b.Run(fmt.Sprintf("codec %d, %d of 4096 bytes, %v/pack", c, len(packed), ok), func(b *testing.B) {
			b.SetBytes(4096)
			for b.Loop() {
				c.pack(data)
			}
		})
		b.Run(fmt.Sprintf("codec %d/unpack", c), func(b *testing.B) {
			b.SetBytes(4096)
			for b.Loop() {
				if _, err := c.unpack(packed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
