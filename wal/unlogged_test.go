package wal

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

// TestUnlogged_Commit: what reaches the device in which order: with ordered data a flush, then the images, neighbours
// in one write, then a flush.
func TestUnlogged_Commit(t *testing.T) {
	var many []Image
	for n := range block.Number(maxRun + 1) {
		many = append(many, image(100+n, byte(n)))
	}
	for _, c := range []struct {
		name    string
		images  []Image
		ordered bool
		want    []int // bytes of each write, 0 for a flush
	}{
		{"nothing", nil, false, []int{0}},
		{"data alone", nil, true, []int{0, 0}},
		{"one", []Image{image(3, 1)}, false, []int{1024, 0}},
		{"one behind data", []Image{image(3, 1)}, true, []int{0, 1024, 0}},
		{"neighbours", []Image{image(3, 1), image(4, 2), image(6, 3)}, false, []int{2048, 1024, 0}},
		{"more than one write has", many, false, []int{maxRun * 1024, 1024, 0}},
	} {
		home, tr := blockcache.NewRAM(make([]byte, 256<<10)), &blockcache.Trace{}
		u := NewUnlogged(blockcache.Record(home, tr, 0), size, 99)
		if err := u.Commit(c.images, []block.Number{7}, c.ordered); err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, e := range tr.Events() {
			if e.Flush() {
				got = append(got, 0)
			} else {
				got = append(got, len(e.Data))
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d, expected %d", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %d, expected %d", c.name, got, c.want)
			}
		}
		for _, i := range c.images {
			if !bytes.Equal(home.Bytes()[size.Offset(i.Number):][:size], i.Data) {
				t.Errorf("%s: %v is not home", c.name, i.Number)
			}
		}
		if u.Bytes() != uint64(1024*len(c.images)) {
			t.Errorf("%s: %d bytes", c.name, u.Bytes())
		}
	}
}

// TestUnlogged_Errors: each step that the device refuses ends the commit with its error, and nothing comes after.
func TestUnlogged_Errors(t *testing.T) {
	for _, c := range []struct {
		fault blockcache.Fault
		after int
		wrote int // images
	}{
		{blockcache.FlushError, 0, 0}, // of the data
		{blockcache.WriteError, 0, 0},
		{blockcache.WriteError, 1, 1},
		{blockcache.FlushError, 1, 2},
	} {
		home := blockcache.NewRAM(make([]byte, 16<<10))
		f := blockcache.NewFaulty(home)
		f.Fail(c.fault, c.after, false)
		u := NewUnlogged(f, size, 99)
		err := u.Commit([]Image{image(2, 1), image(5, 1)}, nil, true)
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%v after %d: %v", c.fault, c.after, err)
		}
		if n := bytes.Count(home.Bytes(), bytes.Repeat([]byte{1}, int(size))); n != c.wrote {
			t.Errorf("%v after %d: %d images are home, expected %d", c.fault, c.after, n, c.wrote)
		}
	}
}

// TestUnlogged_NeverFull: it keeps nothing, so nothing is ever to be given up.
func TestUnlogged_NeverFull(t *testing.T) {
	var u EpochLog = NewUnlogged(blockcache.NewRAM(make([]byte, 16<<10)), size, 99)
	for range 3 {
		if err := u.Commit([]Image{image(2, 1)}, nil, true); err != nil {
			t.Fatal(err)
		}
		u.Abort() // which nothing can note
		if !u.Fits(1<<30, nil) || !u.Home() || u.Used() != 0 || u.Blocks() < 1 || u.Largest() != 99 || u.Trim(1) != nil {
			t.Errorf("used %d of %d blocks, the largest epoch has %d", u.Used(), u.Blocks(), u.Largest())
		}
	}
	if u.FlushTime() < 0 || u.Next() != 0 {
		t.Errorf("a flush takes %v; the next is %d", u.FlushTime(), u.Next())
	}
}

// TestLog_Ordered: ordered data is flushed home before the epoch that points at it, once (W3).
func TestLog_Ordered(t *testing.T) {
	f := newFixture()
	tr := &blockcache.Trace{}
	l, _, err := Open(f.dev, blockcache.Record(f.home, tr, 0), size, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abandon()
	flushes := func() (n int) {
		for _, e := range tr.Events() {
			if e.Flush() {
				n++
			}
		}
		return n
	}
	before := flushes()
	for _, c := range []struct {
		ordered bool
		want    int
	}{{false, 0}, {true, 1}, {false, 1}, {true, 2}} {
		if c.ordered {
			l.Ordered()
		}
		f.put(l, 1, 1)
		mustSync(t, l)
		if n := flushes() - before; n != c.want {
			t.Errorf("%d flushes of home, expected %d", n, c.want)
		}
	}
}
