package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestOrphans_Forms removes the names of open files, in the list of orphans, the orphan file, and both where that is
// full; a crash follows, and recovery frees them all.
func TestOrphans_Forms(t *testing.T) {
	for _, c := range []struct {
		form   string
		files  int
		inFile bool
		inList bool
	}{
		{"1k", 5, false, true},
		{"orphan file", 5, true, false},
		{"4k", 40, false, true},
	} {
		t.Run(c.form, func(t *testing.T) {
			m := openMem(t, c.form)
			if c.inFile { // leave slots for three
				m.orphans.form.free = m.orphans.form.free[len(m.orphans.form.free)-3:]
				c.inList = true
			}
			free := ok(m.Writable.Stat())(t)
			var nodes []Node
			for i := range c.files {
				name := fmt.Sprint("f", i)
				nodes = append(nodes, m.mkfile(Root, name, fill(i, 3000)))
				m.unlinkOpen(Root, nodes[i], name)
			}
			m.sync()
			s := m.sealed().Superblock()
			if got := s.LastOrphan != 0; got != c.inList {
				t.Errorf("the superblock has a list of orphans: %v", got)
			}
			if got := s.ROCompat&disk.ROCompatOrphanPresent != 0; got != c.inFile {
				t.Errorf("the superblock says that the orphan file is in use: %v", got)
			}
			for i, node := range nodes {
				if !bytes.Equal(m.read(node), fill(i, 3000)) {
					t.Errorf("open file %d has other contents", i)
				}
			}
			next := m.reopen()
			if n := ok(next.FinishOrphans())(t); n != c.files {
				t.Errorf("recovery finished %d inodes, expected %d", n, c.files)
			}
			next.check()
			if got := ok(next.Writable.Stat())(t); got.Free != free.Free || got.FreeInodes != free.FreeInodes {
				t.Errorf(
					"%d blocks and %d inodes are free, %d and %d before",
					got.Free,
					got.FreeInodes,
					free.Free,
					free.FreeInodes,
				)
			}
			m.check()
		})
	}
}

// TestOrphanForm_Random adds and removes orphans at random, and follows the list on the image as recovery does.
func TestOrphanForm_Random(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	var f orphanForm
	f.init()
	f.addBlock(4, []Ino{0, 100, 0, 0})
	f.ready()
	want := map[Ino]bool{100: true}
	for range 1000 {
		ino := Ino(100 + rnd.Intn(20))
		if want[ino] && rnd.Intn(2) == 0 {
			f.remove(ino)
			delete(want, ino)
		} else {
			f.add(ino)
			want[ino] = true
		}
		got := map[Ino]bool{}
		for _, ino := range f.slots[0] {
			if ino != 0 {
				got[ino] = true
			}
		}
		for at, prev := f.head, Ino(0); at != 0; prev, at = at, f.next[at] {
			if got[at] || f.prev[at] != prev {
				t.Fatalf("inode %d is twice in the form, or is not linked back to %d", at, prev)
			}
			got[at] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("the form has %v, expected %v", got, want)
		}
	}
	f.remove(5) // none
	f.sealed()
	if len(f.dirty) != 0 || len(f.relinked) != 0 || f.superblock {
		t.Error("changes are left after the form was sealed")
	}
}

// TestOrphans_Damage: lists that recovery must not follow.
func TestOrphans_Damage(t *testing.T) {
	open := func(change func(m *memFS, p []byte)) error {
		m := openMem(t, "1k")
		for i := range 2 {
			name := fmt.Sprint("f", i)
			m.unlinkOpen(Root, m.mkfile(Root, name, nil), name)
		}
		m.sync()
		p := bytes.Clone(m.store.image.p)
		change(m, p)
		base, err := Open(bytes.NewReader(p), Options{})
		if err != nil {
			return err
		}
		_, err = OpenWritable(base, newMemStore(p, m.super.BlockSize), bytes.NewReader(p), WriteOptions{})
		return err
	}
	head := func(m *memFS, p []byte, ino Ino) {
		s := p[disk.SuperblockOffset:][:disk.SuperblockSize]
		m.super.PutSuperCounts(s, m.sealer.freeBlocks, uint32(m.sealer.freeInodes), ino)
		m.super.SealSuperblock(s)
	}
	is(t, "as it is", open(func(*memFS, []byte) {}), nil)
	for _, ino := range []Ino{3, RootIno, 1 << 20} {
		is(t, fmt.Sprint("inode ", ino), open(func(m *memFS, p []byte) { head(m, p, ino) }), ondisk.ErrCorrupt)
	}
	is(t, "a loop", open(func(m *memFS, p []byte) {
		g, nth, off := m.super.InodeBlock(m.orphans.form.head)
		at := (int64(ok(m.base.inodeTable(g))(t))+int64(nth))*1024 + int64(off)
		slot := p[at:][:m.super.InodeSize]
		putDtime(slot, m.orphans.form.head)
		m.super.SealInode(m.orphans.form.head, slot)
	}), ondisk.ErrCorrupt)
}

// TestTmpfile_Link: a file without a name gets one, or is freed; an unlinked one never gets another.
func TestTmpfile_Link(t *testing.T) {
	m := openMem(t, "1k")
	d := m.mkdir(Root, "d")
	n := ok(m.Tmpfile(Cred{}, d, CreateOptions{Mode: disk.ModeRegular | 0o600}))(t)
	node := NodeOf(&n)
	m.write(node, 0, []byte("hello"))
	ok(m.Link(Cred{}, node, d, "named"))(t)
	if got := m.stat(node); got.Links != 1 || string(m.read(m.lookup(d, "named"))) != "hello" ||
		m.orphans.has(node.Ino()) {
		t.Errorf("%d links; contents %q", got.Links, m.read(node))
	}
	m.unlinkOpen(d, node, "named")
	_, err := m.Link(Cred{}, node, d, "again")
	is(t, "a second life", err, ErrNotExist)
	other := ok(m.Tmpfile(Cred{}, d, CreateOptions{Mode: disk.ModeRegular | 0o600}))(t)
	used := true
	is(t, "evict while in use", m.EvictIf(NodeOf(&other), func() bool { return !used }), nil)
	if !m.orphans.has(other.Ino) {
		t.Fatal("a file in use is freed")
	}
	used = false
	is(t, "evict", m.EvictIf(NodeOf(&other), func() bool { return !used }), nil)
	is(t, "read", m.View(func(fs *FS) error { return fs.ReadNode(new(Inode), NodeOf(&other)) }), ErrStale)
	is(t, "evict again", m.Evict(NodeOf(&other)), nil)
	_, err = m.Tmpfile(Cred{}, m.mkfile(Root, "f", nil), CreateOptions{Mode: disk.ModeRegular})
	is(t, "in a file", err, ErrNotDir)
	m.check()
}

// TestLink_Cases: what link(2) refuses.
func TestLink_Cases(t *testing.T) {
	m := openMem(t, "1k")
	d, f := m.mkdir(Root, "d"), m.mkfile(Root, "f", nil)
	fixed := m.mkfile(Root, "fixed", nil)
	is(t, "chattr", m.SetFlags(Cred{}, fixed, disk.InodeExtents|disk.InodeImmutable), nil)
	for _, c := range []struct {
		node, dir Node
		name      string
		want      error
	}{
		{f, d, "ok", nil}, {f, d, "ok", ErrExists}, {d, Root, "dir", ErrNotPermit}, {fixed, d, "x", ErrNotPermit},
		{f, f, "x", ErrNotDir}, {f, d, "", ErrInvalid}, {f, d, "a/b", ErrInvalid}, {f, d, ".", ErrInvalid},
	} {
		_, err := m.Link(Cred{}, c.node, c.dir, c.name)
		is(t, fmt.Sprintf("link %x as %q", c.node, c.name), err, c.want)
	}
	if n := m.stat(f); n.Links != 2 {
		t.Errorf("%d links", n.Links)
	}
	m.check()
}

// TestRemove_Cases: what unlink(2) and rmdir(2) refuse.
func TestRemove_Cases(t *testing.T) {
	m := openMem(t, "1k")
	d := m.mkdir(Root, "d")
	m.mkfile(d, "f", nil)
	m.mkdir(Root, "empty")
	grows := m.mkdir(Root, "grows")
	m.mkfile(grows, "f", nil)
	is(t, "chattr", m.SetFlags(Cred{}, grows, disk.InodeExtents|disk.InodeAppend), nil)
	type call = func(Cred, Node, string) (Removed, error)
	for _, c := range []struct {
		call call
		dir  Node
		name string
		want error
	}{
		{m.Unlink, Root, "d", ErrIsDir}, {m.Unlink, d, "none", ErrNotExist}, {m.Unlink, grows, "f", ErrNotPermit},
		{m.Unlink, d, "", ErrInvalid}, {m.Unlink, m.lookup(d, "f"), "x", ErrNotDir},
		{m.Rmdir, Root, "d", ErrNotEmpty}, {m.Rmdir, d, "f", ErrNotDir}, {m.Rmdir, d, ".", ErrInvalid}, {m.Rmdir, d,
			"..", ErrNotEmpty},
		{m.Rmdir, Root, "none", ErrNotExist}, {m.Rmdir, Root, "empty", nil}, {m.Rmdir, Root, "empty", ErrNotExist},
		{m.Unlink, d, "f", nil}, {m.Rmdir, Root, "d", nil},
	} {
		_, err := c.call(Cred{}, c.dir, c.name)
		is(t, fmt.Sprintf("remove %q", c.name), err, c.want)
	}
	_, err := m.Create(Cred{}, d, "late", CreateOptions{Mode: disk.ModeRegular})
	is(t, "create in a removed directory", err, ErrNotExist)
	if n := m.stat(Root); n.Links != 4 { // lost+found and grows
		t.Errorf("the root has %d links", n.Links)
	}
	m.check()
}

// TestCreate_Kinds makes each kind of inode, and finds it as it was made.
func TestCreate_Kinds(t *testing.T) {
	long := string(bytes.Repeat([]byte("t"), 200))
	for _, form := range []string{"1k", "ext3"} {
		m := openMem(t, form)
		for i, c := range []CreateOptions{
			{Mode: disk.ModeRegular | 0o644}, {Mode: disk.ModeDir | 0o755}, {Mode: disk.ModeFIFO | 0o600},
			{Mode: disk.ModeSocket | 0o600},
			{Mode: disk.ModeChar | 0o600, Major: 8, Minor: 1}, {Mode: disk.ModeBlock | 0o600, Major: 300, Minor: 70000},
			{Mode: disk.ModeSymlink | 0o777, Target: "short"}, {Mode: disk.ModeSymlink | 0o777, Target: long},
		} {
			node := m.make(Root, fmt.Sprint("n", i), c)
			is(t, "read", m.View(func(fs *FS) error {
				var n Inode
				if err := fs.ReadNode(&n, node); err != nil {
					return err
				}
				if n.Mode != c.Mode || n.FS() != fs {
					t.Errorf("%d: mode 0%o, expected 0%o", i, n.Mode, c.Mode)
				}
				if n.IsDevice() {
					if major, minor := n.Device(); major != c.Major || minor != c.Minor {
						t.Errorf("device %d:%d, expected %d:%d", major, minor, c.Major, c.Minor)
					}
				}
				if n.IsSymlink() {
					if target, err := n.Readlink(); target != c.Target || err != nil {
						t.Errorf("target %q, %v", target, err)
					}
				}
				return nil
			}), nil)
		}
		_, err := m.Create(Cred{}, Root, "l", CreateOptions{Mode: disk.ModeSymlink, Target: string(make([]byte, 1024))})
		is(t, "a target that fills its block", err, ErrTooLong)
		for name, want := range map[string]error{"": ErrInvalid, "..": ErrInvalid, "a/b": ErrInvalid,
			"zero\x00": ErrInvalid, "n0": ErrExists} {
			_, err := m.Create(Cred{}, Root, name, CreateOptions{Mode: disk.ModeRegular})
			is(t, fmt.Sprintf("%q", name), err, want)
		}
		m.check()
	}
}

// TestShutdown_Ways: each way of FS_IOC_SHUTDOWN refuses changes, and makes durable what it says.
func TestShutdown_Ways(t *testing.T) {
	for how, durable := range map[Shutdown]bool{ShutdownSync: true, ShutdownLog: true, ShutdownCut: false} {
		cut := 0
		m := openMemWith(t, memImageOf(t, "1k"), WriteOptions{Cut: func() { cut++ }})
		m.mkfile(Root, "f", nil)
		is(t, "shut down", m.Shutdown(how), nil)
		is(t, "shut down again", m.Shutdown(how), nil)
		if !m.ShutDown() || cut != 1 {
			t.Errorf("%d: shut down is %v, cut was called %d times", how, m.ShutDown(), cut)
		}
		_, err := m.Create(Cred{}, Root, "g", CreateOptions{Mode: disk.ModeRegular})
		is(t, "create", err, ErrShutdown)
		is(t, "sync", m.Sync(context.Background()), ErrShutdown)
		if got := m.reopen().lookup(Root, "f") != 0; got != durable {
			t.Errorf("%d: the file is durable: %v", how, got)
		}
	}
	is(t, "another way", openMem(t, "1k").Shutdown(3), ErrInvalid)
}

// TestDamaged_Choices: what errors= says happens when damage is found; other errors are no damage.
func TestDamaged_Choices(t *testing.T) {
	for choice, goesOn := range map[OnDamage]bool{Continue: true, RemountRO: false, Panic: false, AsSuperblock: true} {
		m := openMemWith(t, memImageOf(t, "1k"), WriteOptions{OnDamage: choice})
		m.Damaged("test", errors.New("the device is gone"))
		m.Damaged("test", ErrNoSpace)
		_, err := m.Create(Cred{}, Root, "before", CreateOptions{Mode: disk.ModeRegular})
		is(t, "before", err, nil)
		m.Damaged("the test", ondisk.Corruptf("inode 12", "is damaged"))
		_, err = m.Create(Cred{}, Root, "after", CreateOptions{Mode: disk.ModeRegular})
		if goesOn {
			is(t, "after", err, nil)
			is(t, "mark", m.MarkDamage(), nil)
			m.sync()
		} else {
			is(t, "after", err, ErrFailed)
		}
		if s := m.store.image.p[disk.SuperblockOffset:]; !bytes.Contains(s[:disk.SuperblockSize], []byte("the test")) ||
			s[0x3a]&2 == 0 {
			t.Errorf("choice %d: the superblock has no mark of the damage", choice)
		}
	}
}

// TestDescribe_Places: blocks by what follows from their place.
func TestDescribe_Places(t *testing.T) {
	m := openMem(t, "groups")
	d := ok(m.base.GroupDesc(1))(t)
	for n, want := range map[uint64]string{
		1: "superblock", 2: "group descriptors of group ", uint64(d.BlockBitmap): "block bitmap of group 1",
		uint64(d.InodeBitmap): "inode bitmap of group 1", uint64(d.InodeTable): "inodes ",
		uint64(m.super.GroupFirst(1)) + 1000: "a block of group 1",
	} {
		if got := m.Describe(block.Number(n)); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("block %d is %q, expected %q", n, got, want)
		}
	}
	for kind := range uint8(20) {
		if KindName(kind) == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}
