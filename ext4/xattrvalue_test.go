package ext4

import (
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

var valueForms = []string{"values", "values 4k", "values ptrs", "values quota"}

// valueOf is the inode that holds the value of an attribute, or one without a number where none does.
func (m *memFS) valueOf(node Node, name string) (v Inode) {
	m.t.Helper()
	is(m.t, "find a value", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		list, err := n.Xattrs()
		for _, x := range list {
			if x.Name == name && x.attr.ValueIno != 0 {
				return fs.ReadInode(&v, x.attr.ValueIno)
			}
		}
		return err
	}), nil)
	return v
}

// TestXattrValue_Random sets and removes attributes of all lengths at random, of a few contents, and compares each with
// a model.
func TestXattrValue_Random(t *testing.T) {
	eachForm(t, valueForms, func(t *testing.T, m *memFS) {
		rnd := rand.New(rand.NewSource(11))
		lengths := []int{0, 3, 100, 500, 900, 970, 1100, 2000, 4036, 4041, 5000, 20000, maxXattrValue}
		free, models := m.alloc.freeInodes.Load(), map[Node]map[string]string{}
		var nodes []Node
		for i := range 5 {
			n := m.mkfile(Root, fmt.Sprint("f", i), nil)
			nodes, models[n] = append(nodes, n), map[string]string{}
		}
		for i := range 400 {
			at := rnd.Intn(len(nodes))
			node, name := nodes[at], fmt.Sprintf("user.%c", 'a'+rnd.Intn(6))
			model := models[node]
			switch rnd.Intn(12) {
			case 0:
				m.unlink(Root, fmt.Sprint("f", at))
				delete(models, node)
				nodes[at] = m.mkfile(Root, fmt.Sprint("f", at), nil)
				models[nodes[at]] = map[string]string{}
			case 1, 2, 3:
				err := m.RemoveXattr(Cred{}, node, name)
				if _, there := model[name]; there {
					is(t, "remove", err, nil)
				} else {
					is(t, "remove nothing", err, ErrNoXattr)
				}
				delete(model, name)
			default:
				value := fill(rnd.Intn(2), lengths[rnd.Intn(len(lengths))])
				is(t, "set", m.SetXattr(Cred{}, node, name, value, 0, false), nil)
				model[name] = string(value)
			}
			if i%100 == 99 {
				m.check()
			}
		}
		for again := range 2 {
			for i, node := range nodes {
				if got := m.xattrs(node); !maps.Equal(got, models[node]) {
					t.Errorf("file %d, opened %d times: other attributes than expected", i, again+1)
				}
			}
			m = m.reopen()
		}
		for i := range nodes {
			m.unlink(Root, fmt.Sprint("f", i))
		}
		m.check()
		if got := m.alloc.freeInodes.Load(); got != free {
			t.Errorf("%d inodes are free of an empty file system, %d before", got, free)
		}
	})
}

// TestXattrValue_Shared: files with the same large value refer to one inode; the last that loses it frees that, and
// each counts its blocks as its own.
func TestXattrValue_Shared(t *testing.T) {
	eachForm(t, valueForms, func(t *testing.T, m *memFS) {
		m.mkfile(Root, "spare", nil)
		blocks, inodes := m.alloc.freeBlocks.Load(), m.alloc.freeInodes.Load()
		value := fill(1, 9000)
		var nodes []Node
		for i := range 3 {
			n := m.mkfile(Root, fmt.Sprint("f", i), nil)
			for _, name := range []string{"user.a", "user.b"}[:1+i%2] {
				m.setXattr(n, name, value)
			}
			nodes = append(nodes, n)
		}
		v := m.valueOf(nodes[0], "user.a")
		units := m.super.ValueUnits(9000)
		if v.Ino == 0 || v.Mode != 0o100600 || v.Links != 1 || v.Size != 9000 || v.Blocks != units ||
			!v.Has(disk.InodeEAInode) {
			t.Fatalf("the value is in inode %d: mode 0%o, %d links, %d bytes, %d units",
				v.Ino, v.Mode, v.Links, v.Size, v.Blocks)
		}
		for i, n := range nodes {
			if got := m.valueOf(n, "user.a").Ino; got != v.Ino {
				t.Errorf("file %d has its value in inode %d, the first one in %d", i, got, v.Ino)
			}
		}
		if got := m.stat(nodes[1]); got.Blocks < 2*units || got.Blocks > 2*units+8 {
			t.Errorf("a file with two values has %d units", got.Blocks)
		}
		m.check()
		m.setXattr(nodes[0], "user.a", value) // no change
		m.setXattr(nodes[0], "user.a", fill(2, 9000))
		is(t, "remove", m.RemoveXattr(Cred{}, nodes[1], "user.b"), nil)
		m.check()
		other := m.valueOf(nodes[0], "user.a")
		if got := m.valueOf(nodes[1], "user.a"); other.Ino == v.Ino || other.EARefs != 1 || got.Ino != v.Ino {
			t.Errorf("a changed value is in inode %d with %d references, the others in %d", other.Ino, other.EARefs, got.Ino)
		}
		for i := range nodes {
			m.unlink(Root, fmt.Sprint("f", i))
		}
		m.check()
		if b, i := m.alloc.freeBlocks.Load(), m.alloc.freeInodes.Load(); b != blocks || i != inodes {
			t.Errorf("%d blocks and %d inodes are free, %d and %d before", b, i, blocks, inodes)
		}
	})
}

// TestXattrValue_Meanwhile: what another transaction does to a value between a transaction and its commit.
func TestXattrValue_Meanwhile(t *testing.T) {
	value := fill(1, 5000)
	for name, c := range map[string]struct {
		before    func(m *memFS, a, b Node)
		meanwhile func(m *memFS, a Node)
	}{
		"its last reference goes": {nil, func(m *memFS, a Node) {
			is(m.t, "remove", m.RemoveXattr(Cred{}, a, "user.a"), nil)
		}},
		"it is freed, and its inode taken again": {nil, func(m *memFS, a Node) {
			m.unlink(Root, "a")
			c := m.mkfile(Root, "c", nil)
			m.setXattr(c, "user.a", fill(2, 5000))
		}},
		"another file shares it": {nil, func(m *memFS, a Node) {
			m.setXattr(m.mkfile(Root, "c", nil), "user.a", value)
		}},
		"two last references go at a time": {func(m *memFS, a, b Node) { m.setXattr(b, "user.a", value) },
			func(m *memFS, a Node) { m.setXattr(a, "user.a", fill(3, 5000)) }},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "values")
			a, b := m.mkfile(Root, "a", nil), m.mkfile(Root, "b", nil)
			m.setXattr(a, "user.a", value)
			last := value
			if c.before != nil {
				c.before(m, a, b)
				last = fill(4, 5000)
			}
			m.store.between = func() { c.meanwhile(m, a) }
			m.setXattr(b, "user.a", last)
			if got := m.xattrs(b)["user.a"]; got != string(last) {
				t.Error("the file has another value than it was given")
			}
			m.check()
		})
	}
}

// TestXattrValue_Block: inodes that share a block of attributes share its references to values. One that leaves the
// block takes references of its own.
func TestXattrValue_Block(t *testing.T) {
	m := openMem(t, "values 4k") // no attributes in inodes
	value := fill(1, 10000)
	var nodes []Node
	for i := range 3 {
		n := m.mkfile(Root, fmt.Sprint("f", i), nil)
		m.setXattr(n, "user.a", value)
		m.setXattr(n, "user.b", fill(2, 5000))
		nodes = append(nodes, n)
	}
	if a, b := m.stat(nodes[0]), m.stat(nodes[2]); a.FileACL == 0 || a.FileACL != b.FileACL {
		t.Fatalf("the same attributes are in blocks %d and %d", a.FileACL, b.FileACL)
	}
	if refs := m.valueOf(nodes[0], "user.a").EARefs; refs != 1 {
		t.Errorf("%d references from a block that is shared", refs)
	}
	m.check()
	m.setXattr(nodes[1], "user.c", []byte("its own"))
	if refs := m.valueOf(nodes[0], "user.a").EARefs; refs != 2 {
		t.Errorf("%d references from two blocks", refs)
	}
	is(t, "remove", m.RemoveXattr(Cred{}, nodes[1], "user.a"), nil)
	m.check()
	is(t, "remove", m.RemoveXattr(Cred{}, nodes[1], "user.c"), nil)
	for i := range nodes {
		m.unlink(Root, fmt.Sprint("f", i))
	}
	m.check()
}

// TestXattrValue_Many: an inode with more values than one transaction drops is freed, whether they are in it or in its
// block, shared or not.
func TestXattrValue_Many(t *testing.T) {
	eachForm(t, valueForms, func(t *testing.T, m *memFS) {
		m.mkfile(Root, "spare", nil)
		inodes := m.alloc.freeInodes.Load()
		for _, name := range []string{"a", "b", "c"} {
			n := m.mkfile(Root, name, nil)
			for i := range 3*maxValues + 1 {
				value := fill(i%11, 4100)
				if name == "c" {
					value = fill(i, 4200)
				}
				m.setXattr(n, fmt.Sprintf("user.%02d", i), value)
			}
		}
		m.check()
		for _, name := range []string{"a", "b", "c"} {
			m.unlink(Root, name)
			m.check()
		}
		if got := m.alloc.freeInodes.Load(); got != inodes {
			t.Errorf("%d inodes are free, %d before", got, inodes)
		}
	})
}

// TestXattrValue_Orphan: what a crash leaves of a file with values is freed by the next mount.
func TestXattrValue_Orphan(t *testing.T) {
	m := openMem(t, "values")
	n := m.mkfile(Root, "f", nil)
	for i := range maxValues + 3 {
		m.setXattr(n, fmt.Sprint("user.", i), fill(i, 3000))
	}
	ok(m.Unlink(Cred{}, Root, "f"))(t)
	m.sync()
	again := m.reopen()
	if left := ok(again.FinishOrphans())(t); left != 1 {
		t.Errorf("%d orphans, expected the file alone", left)
	}
	again.check()
}

// TestXattrValue_Symlink: a short symlink with a large value stays one to e2fsck, which takes it for a long one if the
// entry is in the inode.
func TestXattrValue_Symlink(t *testing.T) {
	eachForm(t, valueForms, func(t *testing.T, m *memFS) {
		for i, target := range []string{"t", "target", strings.Repeat("t", 59), strings.Repeat("t", 300)} {
			n := m.make(Root, fmt.Sprint("l", i), CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target})
			m.setXattr(n, "trusted.a", fill(i, 5000))
			m.setXattr(n, "trusted.b", []byte("short"))
			m.check()
			is(t, "read", m.View(func(fs *FS) error {
				l, err := fs.Resolve(fmt.Sprint("/l", i), false)
				if err != nil {
					return err
				}
				if got, err := l.Readlink(); err != nil || got != target {
					t.Errorf("a target of %d bytes reads as %q, %v", len(target), got, err)
				}
				return nil
			}), nil)
			m.unlink(Root, fmt.Sprint("l", i))
		}
		m.check()
	})
}

// TestXattrValue_ACL: an ACL that is too long for a block lies in an inode, too; it is inherited, and follows chmod.
func TestXattrValue_ACL(t *testing.T) {
	const access, def = "system.posix_acl_access", "system.posix_acl_default"
	m := openMem(t, "values")
	var users []disk.ACLEntry
	for i := range 300 {
		users = append(users, disk.ACLEntry{Tag: 2, Perm: 7, ID: uint32(1000 + i)})
	}
	aclWith := func(mode, mask uint16) []byte {
		return aclOf(mode, append(users[:300:300], disk.ACLEntry{Tag: disk.ACLMask, Perm: mask})...)
	}
	d := m.mkdir(Root, "d")
	m.setXattr(d, def, aclWith(0o770, 7))
	f := ok(m.Create(Cred{}, d, "f", CreateOptions{Mode: disk.ModeRegular | 0o664}))(t)
	node := NodeOf(&f)
	if got := m.xattrs(node)[access]; got != string(aclWith(0o670, 6)) || m.valueOf(node, access).Ino == 0 {
		t.Errorf("an inherited ACL has %d bytes, in inode %d", len(got), m.valueOf(node, access).Ino)
	}
	sub := m.mkdir(d, "sub")
	if a, b := m.valueOf(d, def), m.valueOf(sub, def); a.Ino != b.Ino {
		t.Errorf("a directory and the one in it have the same ACL in inodes %d and %d", a.Ino, b.Ino)
	}
	ok(m.SetAttr(Cred{}, node, Attr{Mode: ref[uint16](0o600)}))(t)
	if got := m.xattrs(node)[access]; got != string(aclWith(0o670, 0)) {
		t.Error("chmod does not change the ACL's mask")
	}
	m.check()
}

// TestXattrValue_Full: where there is no room for a value nothing is left of it, and the old one stays.
func TestXattrValue_Full(t *testing.T) {
	m := openMem(t, "values")
	n := m.mkfile(Root, "f", nil)
	m.setXattr(n, "user.a", fill(1, 8000))
	m.exhaust()
	err := m.SetXattr(Cred{UID: 1, GID: 1}, n, "user.a", fill(2, maxXattrValue), 0, false)
	is(t, "set on a full file system", err, ErrNoSpace)
	if m.xattrs(n)["user.a"] != string(fill(1, 8000)) {
		t.Error("the old value is gone")
	}
	m.check()
}

// TestXattrValue_Damaged: an entry that leads to an inode which is none of a value changes nothing there.
func TestXattrValue_Damaged(t *testing.T) {
	for name, broke := range map[string]func(m *memFS, v *Inode) error{
		"no flag": func(m *memFS, v *Inode) error {
			return m.do(opSetattr, Cred{}, func(o *op) error { return o.setFlags(v, v.Flags&^disk.InodeEAInode) })
		},
		"no references": func(m *memFS, v *Inode) error {
			return m.do(opSetattr, Cred{}, func(o *op) error { return o.setWord(v.Ino, disk.OffValueRefs, 0) })
		},
		"a directory": func(m *memFS, v *Inode) error {
			return m.do(opSetattr, Cred{}, func(o *op) error { return o.setInode(v.Ino, disk.OffMode, []byte{0xed, 0x41}) })
		},
		"free": func(m *memFS, v *Inode) error {
			return m.do(opSetattr, Cred{}, func(o *op) error { return o.freeInode(v) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "values")
			n := m.mkfile(Root, "f", nil)
			m.setXattr(n, "user.a", fill(1, 8000))
			v := m.valueOf(n, "user.a")
			is(t, "damage", broke(m, &v), nil)
			is(t, "replace", m.SetXattr(Cred{}, n, "user.a", []byte("x"), 0, false), ondisk.ErrCorrupt)
			is(t, "remove", m.RemoveXattr(Cred{}, n, "user.a"), ondisk.ErrCorrupt)
			m.setXattr(m.mkfile(Root, "g", nil), "user.a", fill(1, 8000)) // does not share it
			m.unlink(Root, "f")
			if r := m.lookup(Root, "f"); r != 0 {
				t.Error("the file is still there")
			}
			var left Inode
			is(t, "read", m.View(func(fs *FS) error { return fs.slot(&left, v.Ino) }), nil)
			if name != "free" && left.Mode == 0 {
				t.Error("an inode that is no value was freed")
			}
		})
	}
}

// TestXattrValue_Name: a directory entry that leads to a value's inode is damage: a write there would change the
// attributes of many files.
func TestXattrValue_Name(t *testing.T) {
	m := openMem(t, "values")
	n, dir := m.mkfile(Root, "f", nil), m.mkdir(Root, "dir")
	m.setXattr(n, "user.a", fill(1, 8000))
	v := m.valueOf(n, "user.a")
	is(t, "insert", m.do(opLink, Cred{}, func(o *op) error {
		d := new(Inode)
		if err := o.fs.ReadNode(d, dir); err != nil {
			return err
		}
		return o.dir(d).insert("name", v.Ino, disk.FileTypeRegular)
	}), nil)
	_, err := m.Unlink(Cred{}, dir, "name")
	if is(t, "unlink", err, ondisk.ErrCorrupt); !strings.Contains(err.Error(), "holds an attribute's value") {
		t.Error(err)
	}
	if errors.Is(m.View(func(fs *FS) error {
		_, err := fs.Resolve("/dir/name", true)
		return err
	}), nil) {
		t.Error("it can be looked up")
	}
}
