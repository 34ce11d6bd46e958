package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// xattrs are all attributes of a node, as the newest snapshot has them.
func (m *memFS) xattrs(node Node) map[string]string {
	m.t.Helper()
	out := map[string]string{}
	is(m.t, "read attributes", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		list, err := n.Xattrs()
		for _, x := range list {
			value, verr := x.Value()
			out[x.Name], err = string(value), errors.Join(err, verr)
		}
		return err
	}), nil)
	return out
}

func (m *memFS) setXattr(node Node, name string, value []byte) {
	m.t.Helper()
	is(m.t, "set "+name, m.SetXattr(Cred{}, node, name, value, 0, false), nil)
}

// TestXattr_Cases: names, flags and kinds of inodes that setxattr(2) and removexattr(2) refuse.
func TestXattr_Cases(t *testing.T) {
	m := openMem(t, "1k")
	f, d := m.mkfile(Root, "f", nil), m.mkdir(Root, "d")
	fixed := m.mkfile(Root, "fixed", nil)
	is(t, "chattr", m.SetFlags(Cred{}, fixed, disk.InodeExtents|disk.InodeImmutable), nil)
	link := m.make(Root, "link", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "x"})
	m.setXattr(f, "user.there", []byte("1"))
	acl := aclOf(0o640)
	for _, c := range []struct {
		node  Node
		name  string
		value []byte
		flags uint32
		want  error
	}{
		{f, "user.a", []byte("1"), 0, nil},
		{f, "user.empty", []byte{}, 0, nil},
		{f, "user.there", []byte("2"), XattrCreate, ErrExists},
		{f, "user.new", []byte("2"), XattrReplace, ErrNoXattr},
		{f, "user.there", []byte("2"), XattrReplace, nil},
		{f, "trusted.t", []byte("2"), XattrCreate, nil},
		{f, "security.s", []byte("2"), 0, nil},
		{f, "user.", []byte("x"), 0, ErrInvalid},
		{f, "system.other", []byte("x"), 0, ondisk.ErrUnsupported},
		{f, "plain", []byte("x"), 0, ondisk.ErrUnsupported},
		{f, "user." + strings.Repeat("n", 256), []byte("x"), 0, ErrXattrName},
		{f, "user.large", make([]byte, 1024), 0, ErrNoSpace},
		{f, "user.larger", make([]byte, maxXattrValue+1), 0, ErrNoSpace},
		{fixed, "user.a", []byte("1"), 0, ErrNotPermit},
		{f, "system.posix_acl_access", acl, 0, nil},
		{d, "system.posix_acl_default", acl, 0, nil},
		{f, "system.posix_acl_default", acl, 0, ErrAccess},
		{f, "system.posix_acl_access", acl[:7], 0, ErrInvalid},
		{f, "system.posix_acl_access", []byte{9, 0, 0, 0}, 0, ErrInvalid},
		{link, "system.posix_acl_access", acl, 0, ondisk.ErrUnsupported},
	} {
		is(
			t,
			fmt.Sprintf("set %.30s with flags %d", c.name, c.flags),
			m.SetXattr(Cred{}, c.node, c.name, c.value, c.flags, false),
			c.want,
		)
	}
	if got := m.xattrs(f); got["user.there"] != "2" || got["user.empty"] != "" || len(got) != 5 {
		t.Errorf("attributes are %q", got)
	}
	is(t, "remove", m.RemoveXattr(Cred{}, f, "user.there"), nil)
	is(t, "remove again", m.RemoveXattr(Cred{}, f, "user.there"), ErrNoXattr)
	is(t, "remove of no kind", m.RemoveXattr(Cred{}, f, "plain"), ondisk.ErrUnsupported)
	is(t, "remove a default ACL of a file", m.RemoveXattr(Cred{}, f, "system.posix_acl_default"), nil)
	is(t, "remove of an immutable file", m.RemoveXattr(Cred{}, fixed, "user.a"), ErrNotPermit)
	m.check()
}

// TestXattr_Random sets and removes attributes of files at random, in inodes and in blocks, and compares each with a
// model.
func TestXattr_Random(t *testing.T) {
	eachForm(t, []string{"1k", "inode 128", "4k", "ext3"}, func(t *testing.T, m *memFS) {
		rnd := rand.New(rand.NewSource(7))
		var nodes []Node
		models := map[Node]map[string]string{}
		for i := range 4 {
			n := m.mkfile(Root, fmt.Sprint("f", i), nil)
			nodes, models[n] = append(nodes, n), map[string]string{}
		}
		full := 0
		for range 300 {
			node, name := nodes[rnd.Intn(len(nodes))], fmt.Sprintf("user.%c", 'a'+rnd.Intn(6))
			model := models[node]
			if rnd.Intn(4) == 0 {
				err := m.RemoveXattr(Cred{}, node, name)
				if _, there := model[name]; there {
					is(t, "remove", err, nil)
				} else {
					is(t, "remove nothing", err, ErrNoXattr)
				}
				delete(model, name)
				continue
			}
			value := fill(rnd.Intn(3), rnd.Intn(300)) // a few values, so that blocks can be shared
			switch err := m.SetXattr(Cred{}, node, name, value, 0, false); {
			case errors.Is(err, ErrNoSpace):
				full++
			default:
				is(t, "set", err, nil)
				model[name] = string(value)
			}
		}
		if full == 0 && m.super.BlockSize == 1024 {
			t.Error("no attribute was too many")
		}
		for _, node := range nodes {
			if got := m.xattrs(node); !maps.Equal(got, models[node]) {
				t.Errorf("attributes are %q, expected %q", got, models[node])
			}
		}
		m.check()
		again := m.reopen()
		for _, node := range nodes {
			if got := again.xattrs(node); !maps.Equal(got, models[node]) {
				t.Errorf("opened again, attributes are %q", got)
			}
		}
	})
}

// TestXattr_Shared: inodes with the same attributes refer to one block, until one of them changes; the last one frees
// it.
func TestXattr_Shared(t *testing.T) {
	m := openMem(t, "inode 128") // all attributes are in blocks
	free := m.alloc.freeBlocks.Load()
	var nodes []Node
	for i := range 3 {
		n := m.mkfile(Root, fmt.Sprint("f", i), nil)
		m.setXattr(n, "user.a", []byte("the same"))
		nodes = append(nodes, n)
	}
	at := m.stat(nodes[0]).FileACL
	refs := func() (r uint32) {
		is(t, "read", m.View(func(fs *FS) error {
			p, err := fs.block(at)
			if err == nil {
				r = disk.XattrRefs(p)
			}
			return err
		}), nil)
		return r
	}
	if m.stat(nodes[1]).FileACL != at || m.stat(nodes[2]).FileACL != at || refs() != 3 {
		t.Fatalf(
			"3 inodes with the same attributes have blocks %d, %d and %d with %d references",
			at,
			m.stat(nodes[1]).FileACL,
			m.stat(nodes[2]).FileACL,
			refs(),
		)
	}
	m.setXattr(nodes[1], "user.a", []byte("another"))
	if m.stat(nodes[1]).FileACL == at || refs() != 2 {
		t.Fatalf("after one changed: block %d, %d references", m.stat(nodes[1]).FileACL, refs())
	}
	if got := m.xattrs(nodes[0])["user.a"]; got != "the same" {
		t.Fatalf("the others have %q", got)
	}
	m.check()
	for i, node := range nodes {
		is(t, "remove", m.RemoveXattr(Cred{}, node, "user.a"), nil)
		if m.stat(node).FileACL != 0 || m.stat(node).Blocks != 0 {
			t.Errorf("inode %d has a block of attributes without attributes", i)
		}
	}
	m.check()
	if got := m.alloc.freeBlocks.Load(); got != free {
		t.Errorf("%d blocks are free, %d before", got, free)
	}
}

// TestXattr_SharedMeanwhile: the block that an inode is about to share is freed meanwhile.
func TestXattr_SharedMeanwhile(t *testing.T) {
	m := openMem(t, "inode 128")
	a, b := m.mkfile(Root, "a", nil), m.mkfile(Root, "b", nil)
	m.setXattr(a, "user.a", []byte("the same"))
	m.store.between = func() { is(t, "remove", m.RemoveXattr(Cred{}, a, "user.a"), nil) }
	m.setXattr(b, "user.a", []byte("the same"))
	if got := m.xattrs(b)["user.a"]; got != "the same" {
		t.Fatalf("the second one has %q", got)
	}
	m.check()
}

// aclOf is an ACL in the form of setxattr(2) that says what a mode does.
func aclOf(mode uint16, more ...disk.ACLEntry) []byte {
	entries := []disk.ACLEntry{{Tag: disk.ACLUserObj, Perm: mode >> 6 & 7}}
	for _, e := range more {
		if e.Tag == 2 {
			entries = append(entries, e)
		}
	}
	entries = append(entries, disk.ACLEntry{Tag: disk.ACLGroupObj, Perm: mode >> 3 & 7})
	for _, e := range more {
		if e.Tag == disk.ACLMask {
			entries = append(entries, e)
		}
	}
	entries = append(entries, disk.ACLEntry{Tag: disk.ACLOther, Perm: mode & 7})
	p := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		p = binary.LittleEndian.AppendUint16(p, e.Tag)
		p = binary.LittleEndian.AppendUint16(p, e.Perm)
		id := uint32(1<<32 - 1)
		if e.Tag == 2 {
			id = e.ID
		}
		p = binary.LittleEndian.AppendUint32(p, id)
	}
	return p
}

// TestACL_Mode: an access ACL and the mode are two forms of one thing (acl(5)).
func TestACL_Mode(t *testing.T) {
	const access = "system.posix_acl_access"
	m := openMem(t, "1k")
	f := m.mkfile(Root, "f", nil)
	ok(m.SetAttr(Cred{}, f, Attr{Mode: ref[uint16](0o2644)}))(t)
	m.setXattr(f, access, aclOf(0o750))
	if n := m.stat(f); n.Mode&0o7777 != 0o2750 || len(m.xattrs(f)) != 0 {
		t.Errorf("an ACL of three entries: mode 0%o, attributes %q", n.Mode, m.xattrs(f))
	}
	user, mask := disk.ACLEntry{Tag: 2, Perm: 7, ID: 77}, disk.ACLEntry{Tag: disk.ACLMask, Perm: 6}
	m.setXattr(f, access, aclOf(0o740, user, mask))
	if n := m.stat(f); n.Mode&0o777 != 0o760 {
		t.Errorf("the mask is the group's mode: 0%o", n.Mode)
	}
	if got, want := m.xattrs(f)[access], string(aclOf(0o740, user, mask)); got != want {
		t.Errorf("the ACL reads as %x, expected %x", got, want)
	}
	ok(m.SetAttr(Cred{}, f, Attr{Mode: ref[uint16](0o711)}))(t)
	if got, want := m.xattrs(f)[access], string(aclOf(0o741, user, disk.ACLEntry{Tag: disk.ACLMask,
		Perm: 1})); got != want {
		t.Errorf("after chmod the ACL is %x, expected %x", got, want)
	}
	is(t, "set as another user", m.SetXattr(Cred{}, f, access, aclOf(0o755), 0, true), nil)
	if n := m.stat(f); n.Mode&0o7000 != 0 {
		t.Errorf("setgid stays: 0%o", n.Mode)
	}
	m.check()
}

// TestACL_Inherit: what is made in a directory with a default ACL gets it, instead of the umask.
func TestACL_Inherit(t *testing.T) {
	const access, def = "system.posix_acl_access", "system.posix_acl_default"
	m := openMem(t, "1k")
	d := m.mkdir(Root, "d")
	user, mask := disk.ACLEntry{Tag: 2, Perm: 7, ID: 77}, disk.ACLEntry{Tag: disk.ACLMask, Perm: 7}
	m.setXattr(d, def, aclOf(0o770, user, mask))
	n := ok(m.Create(Cred{}, d, "f", CreateOptions{Mode: disk.ModeRegular | 0o664, Umask: 0o077}))(t)
	if n.Mode&0o777 != 0o660 {
		t.Errorf("a file has mode 0%o", n.Mode)
	}
	want := string(aclOf(0o670, user, disk.ACLEntry{Tag: disk.ACLMask, Perm: 6}))
	if got := m.xattrs(NodeOf(&n)); got[access] != want || len(got) != 1 {
		t.Errorf("its ACL is %x, expected %x", got[access], want)
	}
	sub := m.mkdir(d, "sub")
	if got := m.xattrs(sub); got[def] != string(aclOf(0o770, user, mask)) {
		t.Errorf("a directory's default ACL is %x", got[def])
	}
	link := m.make(d, "link", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "x"})
	if got := m.xattrs(link); len(got) != 0 || m.stat(link).Mode&0o777 != 0o777 {
		t.Errorf("a symlink has %q", got)
	}
	plain := ok(m.Create(Cred{}, Root, "plain", CreateOptions{Mode: disk.ModeRegular | 0o666, Umask: 0o027}))(t)
	if plain.Mode&0o777 != 0o640 {
		t.Errorf("without a default ACL the mode is 0%o", plain.Mode)
	}
	m.check()
}

// TestWrite_Capabilities: writing to a file takes security.capability away, and a user's setuid and setgid with it.
func TestWrite_Capabilities(t *testing.T) {
	for _, c := range []struct {
		name  string
		clear ClearPrivileges
		mode  uint16
	}{{"of a user", true, 0o755}, {"of root", false, 0o4755}} {
		m := openMem(t, "1k")
		f := m.mkfile(Root, "f", []byte("data"))
		ok(m.SetAttr(Cred{}, f, Attr{Mode: ref[uint16](0o4755)}))(t)
		m.setXattr(f, "security.capability", bytes.Repeat([]byte{1}, 20))
		ok(m.Write(Cred{}, f, 1, []byte("x"), c.clear))(t)
		if n := m.stat(f); n.Mode&0o7777 != c.mode || len(m.xattrs(f)) != 0 {
			t.Errorf("after a write %s: mode 0%o, attributes %q", c.name, n.Mode, m.xattrs(f))
		}
		m.check()
	}
}

// TestXattrNames_Trusted: names in trusted. are for the administrator.
func TestXattrNames_Trusted(t *testing.T) {
	m := openMem(t, "1k")
	f := m.mkfile(Root, "f", nil)
	for _, name := range []string{"user.u", "trusted.t", "security.s"} {
		m.setXattr(f, name, []byte("1"))
	}
	for administrator, want := range map[bool]string{true: "user.u\x00trusted.t\x00security.s\x00",
		false: "user.u\x00security.s\x00"} {
		is(t, "list", m.View(func(fs *FS) error {
			var n Inode
			err := fs.ReadNode(&n, f)
			if err != nil {
				return err
			}
			got, err := n.XattrNames(administrator)
			if string(got) != want {
				t.Errorf("names are %q, expected %q", got, want)
			}
			return err
		}), nil)
	}
}
