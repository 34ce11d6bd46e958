package blockcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

func TestCache_ConcurrentMissesReadOnce(t *testing.T) {
	d := &counted{size: 1024, n: 10, gate: make(chan struct{})}
	c := NewCache(d, nil, 1024, 1<<20)
	var wg sync.WaitGroup
	for range 32 {
		wg.Add(1)
		go func() { defer wg.Done(); check(t, c, 7) }()
	}
	for c.Stats().Hits < 31 { // all but one wait for the one that reads
	}
	close(d.gate)
	wg.Wait()
	if n := d.reads.Load(); n != 1 {
		t.Errorf("%d reads for one block", n)
	}
}

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

// recorder records the advice that a device got.
type recorder struct {
	Memory
	advice []int64
}

func (a *recorder) Advise(offset, _ int64) { a.advice = append(a.advice, offset/windowSize) }

func TestReadahead_Patterns(t *testing.T) {
	for _, c := range []struct {
		what    string
		touches []int64 // offsets in windows
		size    int64
		want    string
	}{
		{"a single read", []int64{5}, 4096, "[]"},
		{"reads far apart", []int64{5, 50, 500}, 4096, "[]"},
		{"two in one window", []int64{5, 5}, 4096, "[5]"},
		{"window after window", []int64{5, 6, 7, 8}, 4096, "[6 7 8 9]"},
		{"a large read", []int64{5}, windowSize, "[5 6]"},
		{"a large read again", []int64{5, 5, 5}, windowSize, "[5 6]"},
		{"the device's end", []int64{99}, windowSize, "[99]"},
	} {
		d := &recorder{Memory: make(Memory, 100*windowSize)}
		r := NewReadahead(d)
		for _, w := range c.touches {
			r.Touch(w*windowSize, c.size)
		}
		if got := fmt.Sprint(d.advice); got != c.want {
			t.Errorf("%s: windows %s are read ahead, expected %s", c.what, got, c.want)
		}
	}
	var none *Readahead
	none.Touch(0, 1) // a device that takes no advice
	if NewReadahead(Memory(nil)) != nil {
		t.Error("a device that takes no advice has a readahead")
	}
}

func TestWindow_Bounds(t *testing.T) {
	m := Memory("0123456789")
	w, err := NewWindow(m, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if n, err := w.ReadAt(p, 1); n != 3 || !errors.Is(err, io.EOF) || string(p[:n]) != "456" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if n, err := w.ReadAt(p[:2], 1); n != 2 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := w.ReadAt(p, 4); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range [][2]int64{{-1, 2}, {3, 8}, {11, 0}, {1 << 62, 1 << 62}} {
		if _, err := NewWindow(m, bad[0], bad[1]); err == nil {
			t.Errorf("a window of %v", bad)
		}
	}
}

func FuzzPartitions(f *testing.F) {
	p := make([]byte, 4096)
	p[510], p[511] = 0x55, 0xaa
	p[450] = 0x83
	p[454], p[458] = 1, 4
	f.Add(p)
	g := bytes.Clone(p)
	copy(g[512:], "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
	f.Add(g)
	f.Fuzz(func(t *testing.T, p []byte) {
		_, parts := Partitions(Memory(p))
		for _, part := range parts {
			if _, err := NewWindow(Memory(p), part.Offset, part.Size); err != nil {
				t.Errorf("partition %+v: %v", part, err)
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
