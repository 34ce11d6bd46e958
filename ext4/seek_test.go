package ext4

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestSeek_Edges works on a file of blocks of 1 KiB: data, a hole of two, data, unwritten, and half a block of data.
func TestSeek_Edges(t *testing.T) {
	const k = 1024
	for _, form := range []string{"1k", "ext3"} {
		m := openMem(t, form)
		f := m.mkfile(Root, "f", bytes.Repeat([]byte{1}, k))
		m.write(f, 3*k, bytes.Repeat([]byte{1}, k))
		if form == "1k" {
			is(t, "allocate", m.Allocate(Cred{}, f, 4*k, k, false), nil)
		}
		m.write(f, 5*k, bytes.Repeat([]byte{1}, k/2))
		for _, c := range []struct {
			from, data, hole int64 // -1: none
		}{
			{-1, -1, -1},
			{0, 0, k},
			{k - 1, k - 1, k},
			{k, 3 * k, k},
			{2*k + 7, 3 * k, 2*k + 7},
			{3*k + 7, 3*k + 7, 4 * k},
			{4 * k, 5 * k, 4 * k},
			{5 * k, 5 * k, 5*k + k/2},
			{5*k + k/2, -1, -1},
			{1 << 40, -1, -1},
		} {
			is(t, "view", m.View(func(fs *FS) error {
				var n Inode
				is(t, "read", fs.ReadNode(&n, f), nil)
				data, derr := n.SeekData(c.from)
				hole, herr := n.SeekHole(c.from)
				for _, got := range []struct {
					what string
					at   int64
					err  error
					want int64
				}{{"data", data, derr, c.data}, {"hole", hole, herr, c.hole}} {
					if got.want < 0 && !errors.Is(got.err, ErrNoData) || got.want >= 0 && (got.err != nil || got.at != got.want) {
						t.Errorf("%s, %s from %d on: %d, %v; expected %d", form, got.what, c.from, got.at, got.err, got.want)
					}
				}
				return nil
			}), nil)
		}
	}
}

// TestSeek_Inline: contents in the inode are data up to their end.
func TestSeek_Inline(t *testing.T) {
	m := openMem(t, "inline")
	f := m.mkfile(Root, "f", []byte("short"))
	n := m.stat(f)
	if !n.Has(disk.InodeInlineData) {
		t.Fatal("the file is not inline")
	}
	for from := int64(0); from < 5; from++ {
		data, derr := n.SeekData(from)
		hole, herr := n.SeekHole(from)
		if data != from || hole != 5 || derr != nil || herr != nil {
			t.Errorf("from %d on: data at %d, %v; a hole at %d, %v", from, data, derr, hole, herr)
		}
	}
}

// TestCheckRoot: a root directory that is no directory, or that cannot be read, is refused with advice.
func TestCheckRoot(t *testing.T) {
	m := openMem(t, "1k")
	is(t, "a root directory", m.sealed().CheckRoot(), nil)
	table := ok(m.base.GroupDesc(0))(t).InodeTable
	slot := m.store.image.p[int(table)*1024+int(m.super.InodeSize):]
	for what, change := range map[string]func(){
		"a regular file":   func() { slot[1] = 0x81; m.super.SealInode(RootIno, slot[:m.super.InodeSize]) },
		"a wrong checksum": func() { slot[0x7c] ^= 1 },
	} {
		before := bytes.Clone(slot[:m.super.InodeSize])
		change()
		if err := m.sealed().CheckRoot(); !errors.Is(err, ondisk.ErrCorrupt) || !bytes.Contains([]byte(err.Error()),
			[]byte("e2fsck")) {
			t.Errorf("%s: %v", what, err)
		}
		copy(slot, before)
	}
}

// TestWriteBack_AppendOnly: pages that were gathered begin with what an append-only file has already. A change of that
// is refused.
func TestWriteBack_AppendOnly(t *testing.T) {
	m := openMem(t, "1k")
	f := m.mkfile(Root, "f", []byte("first "))
	is(t, "chattr +a", m.SetFlags(Cred{}, f, disk.InodeAppend|disk.InodeExtents), nil)
	for _, c := range []struct {
		offset int64
		data   string
		err    error
		want   string
	}{
		{0, "first second", nil, "first second"},
		{0, "First second third", ErrNotPermit, "first second"},
		{3, "st second", nil, "first second"},
		{3, "ST", ErrNotPermit, "first second"},
		{12, " third", nil, "first second third"},
	} {
		_, _, err := m.WriteBack(Cred{}, f, c.offset, []byte(c.data), false)
		is(t, c.data, err, c.err)
		if got := string(m.read(f)); got != c.want {
			t.Errorf("%q at %d: %q", c.data, c.offset, got)
		}
	}
	if _, err := m.Write(Cred{}, f, 0, []byte("first"), false); !errors.Is(err, ErrNotPermit) {
		t.Errorf("a write that was not gathered: %v", err)
	}
	m.check()
}
