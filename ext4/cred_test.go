package ext4

import (
	"context"
	"errors"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// countdown is a context that ends after it was asked so many times: the store in memory asks once for each
// transaction, and once for each flush.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// after is the user of a request whose maker is gone after so many waits.
func after(waits int) Cred { return Cred{Context: &countdown{context.Background(), waits}} }

// TestCred_Gone: an operation whose maker is gone before it begins changes nothing.
func TestCred_Gone(t *testing.T) {
	m := openMem(t, "1k")
	d, f, g := m.mkdir(Root, "d"), m.mkfile(Root, "f", []byte("contents")), m.mkfile(Root, "g", nil)
	is(t, "set", m.SetXattr(Cred{}, f, "user.a", []byte("1"), 0, false), nil)
	before, size := m.store.seq, uint64(3)
	create := CreateOptions{Mode: disk.ModeRegular}
	for what, do := range map[string]func(Cred) error{
		"create":  func(c Cred) error { _, err := m.Create(c, d, "new", create); return err },
		"tmpfile": func(c Cred) error { _, err := m.Tmpfile(c, d, create); return err },
		"link":    func(c Cred) error { _, err := m.Link(c, f, d, "new"); return err },
		"unlink":  func(c Cred) error { _, err := m.Unlink(c, Root, "f"); return err },
		"rmdir":   func(c Cred) error { _, err := m.Rmdir(c, Root, "d"); return err },
		"rename":  func(c Cred) error { _, err := m.Rename(c, Root, "f", d, "f", 0); return err },
		"setattr": func(c Cred) error { _, err := m.SetAttr(c, f, Attr{Size: &size}); return err },
		"flags":   func(c Cred) error { return m.SetFlags(c, f, disk.InodeNoAtime|disk.InodeExtents) },
		"xattr":   func(c Cred) error { return m.SetXattr(c, f, "user.b", nil, 0, false) },
		"removal": func(c Cred) error { return m.RemoveXattr(c, f, "user.a") },
		"touch":   func(c Cred) error { return m.Touch(c, f) },
		"write":   func(c Cred) error { _, err := m.Write(c, f, 0, []byte("new"), false); return err },
		"gathered": func(c Cred) error {
			_, _, err := m.WriteBack(c, f, 0, []byte("new"), false)
			return err
		},
		"whole":    func(c Cred) error { _, err := m.WriteWhole(c, f, 0, []byte("new"), false); return err },
		"allocate": func(c Cred) error { return m.Allocate(c, f, 0, 1<<20, false) },
		"punch":    func(c Cred) error { return m.Punch(c, f, 0, 4) },
		"zero":     func(c Cred) error { return m.ZeroRange(c, f, 0, 4, false) },
		"copy": func(c Cred) error {
			_, err := m.CopyRange(context.Background(), c, Range{Node: f}, Range{Node: g}, 8)
			return err
		},
	} {
		if err := do(after(0)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if m.store.seq != before {
			t.Errorf("%s has changed something", what)
			before = m.store.seq
		}
	}
	m.check()
}

// TestCred_GoneBetween: a series of transactions ends between two of them, and a truncate goes on behind its first.
func TestCred_GoneBetween(t *testing.T) {
	const pieces = 40 // with holes between them: an extent each
	for _, c := range []struct {
		name  string
		do    func(m *memFS, c Cred, f Node) error
		err   error
		least int // pieces that are left
		most  int
	}{
		{"punch", func(m *memFS, c Cred, f Node) error { return m.Punch(c, f, 0, pieces*2048) },
			context.Canceled, 1, pieces - 1},
		{"truncate", func(m *memFS, c Cred, f Node) error {
			var size uint64
			_, err := m.SetAttr(c, f, Attr{Size: &size})
			return err
		}, nil, 0, 0},
	} {
		m := openMem(t, "1k")
		f := m.mkfile(Root, "f", nil)
		for i := range int64(pieces) {
			m.write(f, i*2048, make([]byte, 1024))
		}
		if err := c.do(m, after(1), f); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, expected %v", c.name, err, c.err)
		}
		left := 0
		for _, kind := range m.layout(f, 2*pieces) {
			if kind == 'D' {
				left++
			}
		}
		if left < c.least || left > c.most {
			t.Errorf("%s: %d pieces are left of %d", c.name, left, pieces)
		}
		m.check()
	}
}

// TestCred_GoneWriting: a write of several transactions that ends between two says how much it has written.
func TestCred_GoneWriting(t *testing.T) {
	m := openMemWith(t, memImageOf(t, "1k"), WriteOptions{JournalData: true})
	f := m.mkfile(Root, "f", nil)
	n, err := m.Write(after(2), f, 0, make([]byte, 64<<10), false)
	if n != 2*maxJournalled<<10 || !errors.Is(err, context.Canceled) || m.stat(f).Size != uint64(n) {
		t.Errorf("%d bytes, %v; the file has %d", n, err, m.stat(f).Size)
	}
	m.check()
}

// TestCred_GoneSync: a change that is done succeeds though its maker is gone before it is durable. The device's own
// error is one.
func TestCred_GoneSync(t *testing.T) {
	m := openMemWith(t, memImageOf(t, "1k"), WriteOptions{Sync: true})
	if _, err := m.Create(after(1), Root, "f", CreateOptions{Mode: disk.ModeRegular}); err != nil {
		t.Errorf("created, and its maker is gone: %v", err)
	}
	m.lookup(Root, "f")
	m.check()
	failed := errors.New("the device has failed")
	m.store.between = func() { m.store.Fail(failed) }
	if _, err := m.Create(after(9), Root, "g", CreateOptions{Mode: disk.ModeRegular}); !errors.Is(err, failed) {
		t.Errorf("created, and the device has failed: %v", err)
	}
}

// TestRoomFor_Gone: a request that has ended waits for no room.
func TestRoomFor_Gone(t *testing.T) {
	m := openMem(t, "1k")
	m.exhaust()
	m.unlink(Root, "everything")
	if err := m.EvictAll(); err != nil {
		t.Fatal(err)
	}
	syncs := m.store.syncs
	if m.RoomFor(after(0).Context, 1<<20) || m.store.syncs != syncs {
		t.Errorf("room, by %d flushes", m.store.syncs-syncs)
	}
	if !m.RoomFor(t.Context(), 1<<20) {
		t.Error("no room though the file is gone")
	}
}
