package blockcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// counted is a device whose blocks hold their own number, and which counts its reads.
type counted struct {
	size  block.Size
	n     int64
	reads atomic.Int64
	gate  chan struct{} // if set, reads wait for it
	fail  atomic.Bool
}

func (d *counted) Size() int64 { return d.n * int64(d.size) }

func (d *counted) ReadAt(p []byte, at int64) (int, error) {
	d.reads.Add(1)
	if d.gate != nil {
		<-d.gate
	}
	if d.fail.Load() {
		return 0, errors.New("medium error")
	}
	if at >= d.Size() {
		return 0, io.EOF
	}
	copy(p, bytes.Repeat([]byte(fmt.Sprintf("%07d ", at/int64(d.size))), len(p)/8))
	return len(p), nil
}

// check reads a block, and expects its number in it.
func check(t testing.TB, c *Cache, n block.Number) {
	t.Helper()
	p, err := c.ReadBlock(n)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%07d ", n); string(p[:8]) != want || string(p[len(p)-8:]) != want {
		t.Fatalf("block %d holds %q", n, p[:8])
	}
}

// TestCache_Bound: however many blocks are read, the cache holds no more than its bound, and not much less.
func TestCache_Bound(t *testing.T) {
	const limit = 1 << 20
	d := &counted{size: 4096, n: 10000}
	c := NewCache(d, nil, 4096, limit)
	for n := range block.Number(10000) {
		check(t, c, n)
		check(t, c, n/2)
	}
	if s := c.Stats(); int64(s.Blocks)*4096 > limit || s.Blocks < 200 {
		t.Errorf("%+v with a bound of %d blocks", s, limit/4096)
	}
}

// TestCache_HotBlocksSurviveAScan: blocks that are read again and again stay while many others are read once.
func TestCache_HotBlocksSurviveAScan(t *testing.T) {
	d := &counted{size: 1024, n: 1 << 20}
	c := NewCache(d, nil, 1024, 512<<10)
	for range 3 {
		for n := range block.Number(100) {
			check(t, c, n)
		}
	}
	for n := range block.Number(5000) {
		check(t, c, 1000+n)
	}
	before := d.reads.Load()
	for n := range block.Number(100) {
		check(t, c, n)
	}
	if again := d.reads.Load() - before; again > 10 {
		t.Errorf("%d of 100 hot blocks were read again after a scan", again)
	}
}

// TestCache_ConcurrentMissesReadOnce: readers of one block that is not cached share one read of the device.
func TestCache_ConcurrentMissesReadOnce(t *testing.T) {
	d := &counted{size: 1024, n: 10, gate: make(chan struct{})}
	c := NewCache(d, nil, 1024, 1<<20)
	var wg sync.WaitGroup
	for range 32 {
		wg.Add(1)
		go func() { defer wg.Done(); check(t, c, 7) }()
	}
	for c.Stats().Hits < 31 { // all but one wait for the one that reads
		runtime.Gosched()
	}
	close(d.gate)
	wg.Wait()
	if n := d.reads.Load(); n != 1 {
		t.Errorf("%d reads for one block", n)
	}
}

// TestCache_ErrorsAreNotKept: a block that could not be read is read again; past the end is an error.
func TestCache_ErrorsAreNotKept(t *testing.T) {
	d := &counted{size: 1024, n: 10}
	c := NewCache(d, nil, 1024, 1<<20)
	d.fail.Store(true)
	if _, err := c.ReadBlock(3); err == nil {
		t.Error("no error")
	}
	d.fail.Store(false)
	check(t, c, 3)
	if _, err := c.ReadBlock(10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v", err)
	}
}

// TestCache_Race: many readers of few places in a small cache always get the contents of their block.
func TestCache_Race(t *testing.T) {
	d := &counted{size: 1024, n: 4096}
	c := NewCache(d, nil, 1024, 256<<10)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 20000 {
				check(t, c, block.Number(r.Uint32N(64)*r.Uint32N(64)))
			}
		}()
	}
	wg.Wait()
}

func BenchmarkCache_Hit(b *testing.B) {
	c := NewCache(&counted{size: 4096, n: 1000}, nil, 4096, 16<<20)
	for n := range block.Number(1000) {
		check(b, c, n)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := block.Number(0); pb.Next(); n++ {
			if _, err := c.ReadBlock(n * 7 % 1000); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestCache_Drop: a block that was dropped is read again, also one whose reading was under way.
func TestCache_Drop(t *testing.T) {
	d := &counted{size: 4096, n: 100}
	c := NewCache(d, nil, 4096, 1<<20)
	for range 3 {
		check(t, c, 7)
		check(t, c, 7)
		c.Drop(7)
		c.Drop(8)
	}
	check(t, c, 7)
	if s := c.Stats(); s.Misses != 4 || s.Blocks != 1 {
		t.Errorf("%+v: expected 4 reads of the one block", s)
	}
}
