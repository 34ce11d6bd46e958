package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// layout is a file's blocks by kind: D for data, U for unwritten, - for a hole.
func (m *memFS) layout(node Node, blocks int) (out string) {
	m.t.Helper()
	is(m.t, "map", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		for at := range blocks {
			r, err := n.Map(FileBlock(at))
			if err != nil {
				return err
			}
			out += map[Kind]string{Data: "D", Unwritten: "U", Hole: "-"}[r.Kind]
		}
		return nil
	}), nil)
	return out
}

// TestFallocate_Layouts works on a file of blocks 0 to 3 written, 4 and 5 a hole, 6 and 7 written, in bytes of 1 KiB
// blocks.
func TestFallocate_Layouts(t *testing.T) {
	const k = 1024
	type call func(m *memFS, f Node) error
	allocate := func(off, n uint64, keep bool) call {
		return func(m *memFS, f Node) error { return m.Allocate(Cred{}, f, off, n, keep) }
	}
	punch := func(off, n uint64) call {
		return func(m *memFS, f Node) error { return m.Punch(Cred{}, f, off, n) }
	}
	zero := func(off, n uint64, keep bool) call {
		return func(m *memFS, f Node) error { return m.ZeroRange(Cred{}, f, off, n, keep) }
	}
	for _, c := range []struct {
		name   string
		call   call
		layout string
		size   int
		from   int // bytes that are zeros afterwards
		to     int
	}{
		{"allocate the hole", allocate(4*k, 2*k, false), "DDDDUUDD----", 8 * k, 0, 0},
		{"allocate part of a block", allocate(4*k+5, 1, false), "DDDDU-DD----", 8 * k, 0, 0},
		{"allocate behind the end", allocate(7*k, 3*k, false), "DDDD--DDUU--", 10 * k, 0, 0},
		{"allocate behind the end, and keep the size", allocate(7*k, 3*k, true), "DDDD--DDUU--", 8 * k, 0, 0},
		{"punch whole blocks", punch(k, 2*k), "D--D--DD----", 8 * k, k, 3 * k},
		{"punch parts of blocks", punch(k+100, 2*k), "DD-D--DD----", 8 * k, k + 100, 3*k + 100},
		{"punch within a block", punch(k+100, 50), "DDDD--DD----", 8 * k, k + 100, k + 150},
		{"punch a hole", punch(4*k, 2*k), "DDDD--DD----", 8 * k, 0, 0},
		{"punch behind the end", punch(20*k, 2*k), "DDDD--DD----", 8 * k, 0, 0},
		{"punch all", punch(0, 100*k), "------------", 8 * k, 0, 8 * k},
		{"zero whole blocks", zero(k, 2*k, false), "DUUD--DD----", 8 * k, k, 3 * k},
		{"zero parts of blocks", zero(100, 2*k, false), "DUD" + "D--DD----", 8 * k, 100, 2*k + 100},
		{"zero over hole and end", zero(5*k, 4*k, false), "DDDD-UUUU---", 9 * k, 6 * k, 8 * k},
		{"zero behind the end, and keep the size", zero(7*k, 4*k, true), "DDDD--DUUUU-", 8 * k, 7 * k, 8 * k},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "1k")
			f := m.mkfile(Root, "f", nil)
			want := fill(1, 8*k)
			m.write(f, 0, want[:4*k])
			m.write(f, 6*k, want[6*k:])
			clear(want[4*k : 6*k])
			before := m.stat(f)
			is(t, "call", c.call(m, f), nil)
			clear(want[c.from:c.to])
			want = append(want, make([]byte, max(c.size-len(want), 0))...)
			if got := m.layout(f, 12); got != c.layout {
				t.Errorf("blocks are %s, expected %s", got, c.layout)
			}
			n := m.stat(f)
			if n.Size != uint64(c.size) || !bytes.Equal(m.read(f), want) {
				t.Errorf("%d bytes, expected %d; contents equal: %v", n.Size, c.size, bytes.Equal(m.read(f), want))
			}
			if !n.Mtime.After(before.Mtime) {
				t.Error("the time of modification stays")
			}
			m.check()
			if !bytes.Equal(m.reopen().read(f), want) {
				t.Error("opened again, the contents differ")
			}
		})
	}
}

// TestFallocate_Refused: kinds of inodes, flags and sizes that fallocate(2) refuses.
func TestFallocate_Refused(t *testing.T) {
	m := openMem(t, "1k")
	fixed := func(name string, flag uint32) Node {
		f := m.mkfile(Root, name, fill(1, 3000))
		is(t, "chattr", m.SetFlags(Cred{}, f, disk.InodeExtents|flag), nil)
		return f
	}
	gone := m.mkfile(Root, "gone", nil)
	m.unlink(Root, "gone")
	pointers := m.mkfile(Root, "pointers", nil)
	is(t, "chattr", m.SetFlags(Cred{}, pointers, 0), nil)
	for _, c := range []struct {
		node   Node
		offset uint64
		want   error
	}{
		{m.mkdir(Root, "dir"), 0, ErrIsDir},
		{m.make(Root, "pipe", CreateOptions{Mode: disk.ModeFIFO}), 0, ErrInvalid},
		{fixed("immutable", disk.InodeImmutable), 0, ErrNotPermit},
		{fixed("append", disk.InodeAppend), 0, ErrNotPermit},
		{pointers, 0, ondisk.ErrUnsupported},
		{m.mkfile(Root, "f", nil), (1<<32 - 1) * 1024, ErrTooBig},
		{gone, 0, ErrStale},
	} {
		for name, err := range map[string]error{
			"allocate": m.Allocate(Cred{}, c.node, c.offset, 1024, false),
			"punch":    m.Punch(Cred{}, c.node, c.offset, 1024),
			"zero":     m.ZeroRange(Cred{}, c.node, c.offset, 1024, false),
		} {
			if name == "punch" && c.node == pointers {
				is(t, "punch without extents", err, nil)
				continue
			}
			is(t, fmt.Sprintf("%s of node %x", name, c.node), err, c.want)
		}
	}
	m.check()
}

// TestFallocate_Full: a hole is punched, and what was allocated is written, where there is no room.
func TestFallocate_Full(t *testing.T) {
	m := openMem(t, "1k")
	f := m.mkfile(Root, "f", nil)
	is(t, "allocate", m.Allocate(Cred{}, f, 0, 64<<10, false), nil)
	m.exhaust()
	g := m.mkfile(Root, "g", nil)
	is(t, "allocate where there is no room", m.Allocate(Cred{UID: 5}, g, 0, 1<<20, false), ErrNoSpace)
	for at := range 16 { // every other block: each splits an extent
		m.write(f, int64(at)*2048, fill(at, 1024))
	}
	for at := range 8 {
		is(t, "punch", m.Punch(Cred{}, f, uint64(at)*4096, 1024), nil)
	}
	got := m.layout(f, 64)
	if got[:8] != "-UDU-UDU" || len(got) != 64 {
		t.Errorf("blocks are %s", got)
	}
	m.check()
}

// TestTruncate_Random cuts and grows files of both forms at random, and compares with a model.
func TestTruncate_Random(t *testing.T) {
	eachForm(t, []string{"1k", "4k", "ext3"}, func(t *testing.T, m *memFS) {
		rnd := rand.New(rand.NewSource(5))
		f := m.mkfile(Root, "f", nil)
		var model []byte
		for i := range 120 {
			if rnd.Intn(2) == 0 {
				size := rnd.Intn(200 << 10)
				ok(m.SetAttr(Cred{}, f, Attr{Size: ref(uint64(size))}))(t)
				model = append(model, make([]byte, max(size-len(model), 0))...)[:size]
				continue
			}
			at, data := rnd.Intn(200<<10), fill(i, rnd.Intn(9000))
			m.write(f, int64(at), data)
			if len(data) > 0 {
				model = append(model, make([]byte, max(at+len(data)-len(model), 0))...)
				copy(model[at:], data)
			}
			if rnd.Intn(10) == 0 && !bytes.Equal(m.read(f), model) {
				t.Fatalf("after step %d the contents differ", i)
			}
		}
		if n := m.stat(f); n.Size != uint64(len(model)) || !bytes.Equal(m.read(f), model) {
			t.Fatalf("%d bytes, expected %d", n.Size, len(model))
		}
		m.check()
		ok(m.SetAttr(Cred{}, f, Attr{Size: ref[uint64](0)}))(t)
		if n := m.stat(f); n.Blocks != 0 {
			t.Errorf("an empty file has %d blocks", n.Blocks)
		}
		m.check()
	})
}

// TestTruncate_Steps: what one transaction cannot free is freed by more of them, and the inode is an orphan until then.
func TestTruncate_Steps(t *testing.T) {
	m := openMem(t, "1k")
	f := m.mkfile(Root, "f", nil)
	for at := range 60 { // 60 extents: 5 transactions of maxCut
		m.write(f, int64(at)*2048, fill(at, 1024))
	}
	orphan := false
	err := m.do(opSetattr, Cred{}, func(o *op) error {
		n, err := o.inode(f)
		if err != nil {
			return err
		}
		done, err := o.truncate(n, 100)
		orphan = !done
		return err
	})
	is(t, "the first transaction", err, nil)
	if !orphan || !m.orphans.has(f.Ino()) {
		t.Fatal("a file that is half cut is no orphan")
	}
	m.sync()
	next := m.reopen() // as after a crash: recovery goes on
	if n := ok(next.FinishOrphans())(t); n != 1 {
		t.Errorf("recovery finished %d inodes", n)
	}
	if n := next.stat(f); n.Size != 100 || n.Blocks != 2 || next.orphans.has(f.Ino()) {
		t.Errorf("after recovery: %d bytes, %d blocks", n.Size, n.Blocks)
	}
	next.check()
	is(t, "the rest", m.finishTruncate(f.Ino()), nil)
	if got := m.layout(f, 3); got != "D--" {
		t.Errorf("blocks are %s", got)
	}
	m.check()
}

// TestCopyRange_Cases: within a file, between files, behind the end, a directory, a bad offset.
func TestCopyRange_Cases(t *testing.T) {
	m := openMem(t, "4k")
	data := fill(3, 1300<<10) // three chunks
	a, b := m.mkfile(Root, "a", data), m.mkfile(Root, "b", []byte("old"))
	d := m.mkdir(Root, "d")
	ctx := t.Context()
	done := ok(m.CopyRange(ctx, Cred{}, Range{a, 100}, Range{b, 2}, 1<<30))(t)
	if done != int64(len(data))-100 || !bytes.Equal(m.read(b), append([]byte("ol"), data[100:]...)) {
		t.Errorf("%d bytes were copied, expected %d", done, len(data)-100)
	}
	done = ok(m.CopyRange(ctx, Cred{}, Range{a, 0}, Range{a, int64(len(data))}, 5000))(t)
	if done != 5000 || !bytes.Equal(m.read(a)[len(data):], data[:5000]) {
		t.Errorf("%d bytes were copied within a file", done)
	}
	if done := ok(m.CopyRange(ctx, Cred{}, Range{a, 1 << 40}, Range{b, 0}, 10))(t); done != 0 {
		t.Errorf("%d bytes were copied from behind the end", done)
	}
	_, err := m.CopyRange(ctx, Cred{}, Range{a, 0}, Range{d, 0}, 10)
	is(t, "into a directory", err, ErrIsDir)
	_, err = m.CopyRange(ctx, Cred{}, Range{a, -1}, Range{b, 0}, 10)
	if err == nil {
		t.Error("a negative offset is copied from")
	}
	m.check()
}

// TestCopyRange_Context: a context that ends stops a copy between two chunks; what was copied stays.
func TestCopyRange_Context(t *testing.T) {
	m := openMem(t, "4k")
	a, b := m.mkfile(Root, "a", fill(3, 1300<<10)), m.mkfile(Root, "b", nil)
	ctx, cancel := context.WithCancel(t.Context())
	m.store.between = cancel // after the first chunk is written
	done, err := m.CopyRange(ctx, Cred{}, Range{a, 0}, Range{b, 0}, 1<<30)
	if !errors.Is(err, ctx.Err()) || err == nil || done != copyChunk {
		t.Errorf("%d bytes, %v", done, err)
	}
	if n := m.stat(b); n.Size != copyChunk {
		t.Errorf("%d bytes are there", n.Size)
	}
	m.check()
}
