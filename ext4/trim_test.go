package ext4

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// trimMem opens a file system in memory that notes which blocks are discarded.
func trimMem(t *testing.T) (m *memFS, discarded map[int64]bool, during *func()) {
	discarded, during = map[int64]bool{}, new(func())
	m = openMemWith(t, memImageOf(t, "groups"), WriteOptions{Discard: Discard{Unit: 1, Do: func(off, n int64) error {
		if *during != nil {
			(*during)()
		}
		for at := off; at < off+n; at += 1024 {
			discarded[at/1024] = true
		}
		return nil
	}}})
	return m, discarded, during
}

var wholeDisk = TrimRange{Len: 1 << 40}

// blocksOf is the blocks of a file's contents.
func (m *memFS) blocksOf(node Node) (out []int64) {
	m.t.Helper()
	err := m.View(func(fs *FS) error {
		n := new(Inode)
		if err := fs.ReadNode(n, node); err != nil {
			return err
		}
		for at := uint64(0); at < (n.Size+1023)/1024; at++ {
			r, err := n.Map(FileBlock(at))
			if err != nil {
				return err
			}
			out = append(out, int64(r.Start))
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// TestTrim_Durable: blocks that a commit freed are discarded when that is durable, and not before; blocks in use never.
func TestTrim_Durable(t *testing.T) {
	ctx := context.Background()
	m, discarded, _ := trimMem(t)
	gone := ok(m.Create(Cred{}, Root, "gone", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	stays := ok(m.Create(Cred{}, Root, "stays", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	for _, n := range []Inode{gone, stays} {
		ok(m.Write(Cred{}, NodeOf(&n), 0, bytes.Repeat([]byte("x"), 20<<10), false))(t)
	}
	m.sync()
	freed, used := m.blocksOf(NodeOf(&gone)), m.blocksOf(NodeOf(&stays))
	size := uint64(0)
	ok(m.SetAttr(Cred{}, NodeOf(&gone), Attr{Size: &size}))(t)
	first := ok(m.Trim(ctx, wholeDisk))(t)
	if first == 0 {
		t.Error("nothing was trimmed")
	}
	for _, b := range append(freed, used...) {
		if discarded[b] {
			t.Fatalf("block %d was discarded: its freeing is not durable, or it is in use", b)
		}
	}
	m.sync()
	if n := ok(m.Trim(ctx, wholeDisk))(t); n == 0 || n >= first {
		t.Errorf("%d bytes were trimmed after %d", n, first)
	}
	for _, b := range freed {
		if !discarded[b] {
			t.Errorf("block %d was not discarded", b)
		}
	}
	for _, b := range used {
		if discarded[b] {
			t.Errorf("block %d was discarded", b)
		}
	}
	if n := ok(m.Trim(ctx, wholeDisk))(t); n != 0 {
		t.Errorf("%d bytes were trimmed once more", n)
	}
}

// TestTrim_Allocating: a file that is written while blocks are discarded gets others, or waits where there are none.
func TestTrim_Allocating(t *testing.T) {
	m, discarded, during := trimMem(t)
	n := ok(m.Create(Cred{}, Root, "file", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	var at int64
	*during = func() {
		ok(m.Write(Cred{}, NodeOf(&n), at, bytes.Repeat([]byte("x"), 8<<10), false))(t)
		at += 8 << 10
		for _, b := range m.blocksOf(NodeOf(&n))[at>>10-8:] {
			discarded[b] = false // what was discarded before it was written counts no more
		}
	}
	ok(m.Trim(context.Background(), wholeDisk))(t)
	if at == 0 {
		t.Fatal("nothing was written")
	}
	for _, b := range m.blocksOf(NodeOf(&n)) {
		if discarded[b] {
			t.Errorf("block %d was discarded while it was written", b)
		}
	}
	room := m.Room()
	*during = nil
	m.Closed(NodeOf(&n))
	if m.Room() < room {
		t.Errorf("room for %d bytes, expected %d", m.Room(), room)
	}
	m.sync()
	m.check()
}

// TestTrim_Refused: ranges that FITRIM refuses, a device that cannot discard, and one that fails.
func TestTrim_Refused(t *testing.T) {
	ctx := context.Background()
	m, _, _ := trimMem(t)
	for _, r := range []TrimRange{{Start: 1 << 30, Len: 1 << 30}, {Len: 1023}, {Len: 1 << 30, MinLen: 1 << 30}} {
		if _, err := m.Trim(ctx, r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if n, err := m.Trim(ended, wholeDisk); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("after its thread was killed: %d, %v", n, err)
	}
	broken := errors.New("broken")
	m.opts.Discard.Do = func(int64, int64) error { return broken }
	before, _ := m.Stat()
	if n, err := m.Trim(ctx, wholeDisk); n != 0 || !errors.Is(err, broken) {
		t.Errorf("a device that fails: %d, %v", n, err)
	}
	if after, _ := m.Stat(); after != before {
		t.Errorf("%+v, expected %+v", after, before)
	}
	m.opts.Discard.Do = nil
	if _, err := m.Trim(ctx, wholeDisk); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("a device that cannot: %v", err)
	}
}
