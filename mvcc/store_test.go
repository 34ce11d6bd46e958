package mvcc

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

var field = merge.Field{Off: 0, Width: 8}

const most = ^uint64(0) >> 1

// mustOpen opens a store over memory; it is checked and closed at the end of the test.
func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	if o.BlockSize == 0 {
		o.BlockSize = 4096
	}
	if o.Home == nil {
		o.Home = blockcache.NewRAM(make([]byte, 1024*int(o.BlockSize)))
	}
	log, _ := o.Durability.(NativeLog)
	if log.Device == nil {
		log.Device = blockcache.NewRAM(nil)
	}
	if log.Options.SegmentSize == 0 {
		log.Options.SegmentSize = 1 << 20
	}
	o.Durability = log
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.closed.Load() {
			return
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func counterOf(t testing.TB, s *Store, n block.Number) uint64 {
	t.Helper()
	var v uint64
	if err := s.View(context.Background(), func(tx *Tx) error {
		b, err := tx.ReadBlock(n)
		if err == nil {
			v = binary.LittleEndian.Uint64(b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestUpdate_Counter: concurrent adds to one field all count, under each policy, and are there after reopening (M3,
// W1).
func TestUpdate_Counter(t *testing.T) {
	for _, p := range []Policy{Strict, Merge, Wait, Adaptive} {
		t.Run(p.String(), func(t *testing.T) {
			home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
			o := Options{
				BlockSize:  4096,
				Home:       home,
				Durability: NativeLog{Device: log, Options: wal.Options{SegmentSize: 64 << 10}},
				Policy:     p,
			}
			s := mustOpen(t, o)
			const writers, each = 16, 400
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range each {
						err := s.Update(context.Background(), func(tx *Tx) error {
							if _, err := tx.ReadBlock(5); err != nil {
								return err
							}
							return tx.Edit(5, merge.Add(field, 1, 0, most))
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if v := counterOf(t, s, 5); v != writers*each {
				t.Errorf("%d, want %d", v, writers*each)
			}
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.Abandon()
			s = mustOpen(t, o)
			if v := counterOf(t, s, 5); v != writers*each {
				t.Errorf("after recovery %d, want %d", v, writers*each)
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	for name, o := range map[string]Options{"nolog": {}, "log": {Durability: NativeLog{Device: blockcache.NewRAM(nil)}}} {
		b.Run(name, func(b *testing.B) {
			o.BlockSize, o.Home = 4096, blockcache.NewRAM(make([]byte, 1<<20))
			s, _, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Abandon()
			data := make([]byte, 32)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Update(context.Background(), func(tx *Tx) error {
					return tx.Edit(3, merge.Set(64, data))
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHot(b *testing.B) {
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abandon()
	b.ReportAllocs()
	b.SetParallelism(60)
	b.RunParallel(func(p *testing.PB) {
		data := make([]byte, 32)
		for p.Next() {
			if err := s.Update(context.Background(), func(tx *Tx) error {
				if _, err := tx.ReadBlock(3); err != nil {
					return err
				}
				return tx.Edit(3, merge.Add(field, 1, 0, most))
			}); err != nil {
				b.Fatal(err)
			}
			_ = data
		}
	})
}

func BenchmarkRead(b *testing.B) {
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abandon()
	if err := s.Update(context.Background(),
		func(tx *Tx) error { return tx.Edit(3, merge.Set(64, []byte{1})) }); err != nil {
		b.Fatal(err)
	}
	b.Run("newest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := s.View(context.Background(), func(tx *Tx) error {
				_, err := tx.ReadBlock(3)
				return err
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDisjoint(b *testing.B) {
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abandon()
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(p *testing.PB) {
		n := block.Number(next.Add(1))
		data := make([]byte, 32)
		for p.Next() {
			if err := s.Update(context.Background(), func(tx *Tx) error { return tx.Edit(n, merge.Set(64, data)) }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadOlder(b *testing.B) {
	s, _, err := Open(
		Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abandon()
	change := func(v byte) {
		if err := s.Update(context.Background(),
			func(tx *Tx) error { return tx.Edit(3, merge.Set(64, []byte{v})) }); err != nil {
			b.Fatal(err)
		}
	}
	change(1)
	old, err := s.Begin(context.Background(), TxOptions{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	defer old.Rollback()
	change(2)
	s.Collect()
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		old.forget()
		if err := old.ReadRange(3, 0, p); err != nil {
			b.Fatal(err)
		}
	}
}

// forget makes a transaction look its blocks up again.
func (tx *Tx) forget() {
	for i := range tx.touched {
		tx.touched[i].reset(&tx.s.chains.versions)
	}
	tx.touched = tx.touched[:0]
}

// TestClose_LetsGo: a store that has ended does not keep its devices. With a pool or a cleanup that
// refers to the store they stayed for some rounds: opening and closing stores in turns took memory without bound.
func TestClose_LetsGo(t *testing.T) {
	kept := func() weak.Pointer[blockcache.RAM] {
		home := blockcache.NewRAM(make([]byte, 1<<20))
		s, _, err := Open(Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: blockcache.NewRAM(nil)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(context.Background(),
			func(tx *Tx) error { return tx.Edit(1, merge.Set(0, []byte{1})) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return weak.Make(home)
	}()
	runtime.GC()
	runtime.GC()
	if kept.Value() != nil {
		t.Error("the device is still referred to after two rounds of collection")
	}
}
