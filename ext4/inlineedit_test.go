package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// inside reports whether a node's contents lie in its inode.
func (m *memFS) inside(node Node) bool {
	n := m.stat(node)
	return n.Has(disk.InodeInlineData)
}

// TestInline_Room is when a file's contents lie in its inode: as long as the inode has room for them, and not again
// once they were too long.
func TestInline_Room(t *testing.T) {
	for form, room := range map[string]int{"inline": 128, "inline 4k": 896, "inline ptrs": 128} {
		t.Run(form, func(t *testing.T) {
			m := openMem(t, form)
			fits := m.mkfile(Root, "fits", fill(1, room))
			large := m.mkfile(Root, "large", fill(2, room+1))
			grows := m.mkfile(Root, "grows", fill(3, room-1))
			if !m.inside(fits) || m.inside(large) || !m.inside(grows) {
				t.Fatalf("inside: %v, %v, %v", m.inside(fits), m.inside(large), m.inside(grows))
			}
			if n := m.stat(fits); n.Blocks != 0 {
				t.Errorf("%d blocks of a file in its inode", n.Blocks)
			}
			m.write(grows, int64(room-10), fill(4, 11))
			want := append(fill(3, room-10), fill(4, 11)...)
			if m.inside(grows) || !bytes.Equal(m.read(grows), want) {
				t.Errorf("a file that grew out: inside %v, contents %x", m.inside(grows), m.read(grows))
			}
			size := uint64(1)
			ok(m.SetAttr(Cred{}, grows, Attr{Size: &size}))(t)
			if m.inside(grows) {
				t.Error("a file that grew out is in its inode again")
			}
			size = uint64(room) * 3
			ok(m.SetAttr(Cred{}, fits, Attr{Size: &size}))(t)
			if got := m.read(fits); m.inside(fits) || !bytes.Equal(got, append(fill(1, room), make([]byte, 2*room)...)) {
				t.Errorf("a file that was made longer: inside %v, %x", m.inside(fits), got)
			}
			m.check()
		})
	}
}

// TestInline_Attributes has attributes and contents compete for an inode's room: each that does not fit goes
// elsewhere, and nothing is lost.
func TestInline_Attributes(t *testing.T) {
	m := openMem(t, "inline")
	a, b := m.mkfile(Root, "a", fill(1, 70)), m.mkfile(Root, "b", fill(2, 128))
	for _, n := range []Node{a, b} {
		is(t, "set an attribute", m.SetXattr(Cred{}, n, "user.k", []byte("value"), 0, false), nil)
	}
	if n := m.stat(a); !m.inside(a) || n.FileACL != 0 {
		t.Errorf("an attribute with room beside the contents: inside %v, block %d", m.inside(a), n.FileACL)
	}
	if n := m.stat(b); !m.inside(b) || n.FileACL == 0 {
		t.Errorf("an attribute without room beside the contents: inside %v, block %d", m.inside(b), n.FileACL)
	}
	m.write(a, 70, fill(3, 40))
	if got := m.read(a); m.inside(a) || !bytes.Equal(got, append(fill(1, 70), fill(3, 40)...)) {
		t.Errorf("contents that need an attribute's room: inside %v, %x", m.inside(a), got)
	}
	m.check()
	next := m.reopen()
	for _, name := range []string{"a", "b"} {
		is(t, "read "+name, next.View(func(fs *FS) error {
			n, err := fs.Resolve("/"+name, false)
			if err != nil {
				return err
			}
			if v, err := n.Xattr("user.k"); err != nil || string(v) != "value" {
				t.Errorf("%s: %q, %v", name, v, err)
			}
			return nil
		}), nil)
	}
}

// TestInline_Directory grows a directory out of its inode, up to a hash tree, and empties it.
func TestInline_Directory(t *testing.T) {
	eachForm(t, []string{"inline", "inline 4k", "inline ptrs"}, func(t *testing.T, m *memFS) {
		dir, other := m.mkdir(Root, "dir"), m.mkdir(Root, "other")
		model := map[string]bool{}
		if !m.inside(dir) {
			t.Fatal("a new directory has blocks")
		}
		for i := range 300 {
			name := fmt.Sprintf("name %d", i)
			m.mkfile(dir, name, nil)
			model[name] = true
			if i < 20 {
				m.agrees(dir, model)
			}
			if i == 5 {
				m.unlink(dir, "name 2")
				delete(model, "name 2")
				if _, err := m.Create(Cred{}, dir, "name 3", CreateOptions{Mode: disk.ModeRegular}); !errors.Is(err, ErrExists) {
					t.Fatalf("a name that is there: %v", err)
				}
				if _, err := m.Rmdir(Cred{}, Root, "dir"); !errors.Is(err, ErrNotEmpty) {
					t.Fatalf("a directory with names: %v", err)
				}
				ok(m.Rename(Cred{}, Root, "dir", other, "moved", 0))(t)
				m.check()
			}
		}
		if m.inside(dir) {
			t.Error("300 names in an inode")
		}
		m.agrees(dir, model)
		for name := range model {
			m.unlink(dir, name)
		}
		ok(m.Rmdir(Cred{}, other, "moved"))(t)
		m.check()
	})
}

// TestInline_Conflict puts a name into an inline directory, and bytes into an inline file, between another such
// change and its commit: both stand.
func TestInline_Conflict(t *testing.T) {
	m := openMem(t, "inline")
	dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", fill(1, 20))
	m.store.between = func() { m.mkfile(dir, "first", nil) }
	m.mkfile(dir, "second", nil)
	m.agrees(dir, map[string]bool{"first": true, "second": true})
	m.store.between = func() { m.write(file, 20, fill(2, 200)) }
	m.write(file, 0, fill(3, 10))
	want := append(append(fill(3, 10), fill(1, 20)[10:]...), fill(2, 200)...)
	if got := m.read(file); !bytes.Equal(got, want) {
		t.Errorf("%x, expected %x", got, want)
	}
	m.store.between = func() { m.mkfile(dir, "late", nil) }
	if _, err := m.Rmdir(Cred{}, Root, "dir"); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a directory that got a name meanwhile: %v", err)
	}
	m.check()
}

// TestInline_Damaged changes inline files and directories that are damaged: an error, and nothing else.
func TestInline_Damaged(t *testing.T) {
	for name, damage := range map[string]func(o *op, n *Inode) error{
		"size past what is stored": func(o *op, n *Inode) error { return o.setSize(n, 1<<40, false) },
		"record past the end": func(o *op, n *Inode) error {
			return o.setInode(n.Ino, disk.OffBlock+8, []byte{0xf0, 0xff})
		},
		"attributes past the end": func(o *op, n *Inode) error {
			return o.setInode(n.Ino, 0xa4+8, []byte{0xff, 0xff, 0, 0})
		},
		"no parent": func(o *op, n *Inode) error { return o.setWord(n.Ino, disk.OffBlock, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "inline")
			other := m.mkdir(Root, "other")
			nodes := []Node{m.mkfile(Root, "file", fill(1, 100)), m.mkdir(Root, "dir")}
			for _, node := range nodes {
				is(t, "damage", m.do(opWrite, Cred{}, func(o *op) error {
					n, err := o.inode(node)
					if err != nil {
						return err
					}
					return damage(o, n)
				}), nil)
			}
			size := uint64(300)
			_, written := m.Write(Cred{}, nodes[0], 50, fill(2, 100), false)
			_, resized := m.SetAttr(Cred{}, nodes[0], Attr{Size: &size})
			_, created := m.Create(Cred{}, nodes[1], "name", CreateOptions{Mode: disk.ModeRegular})
			_, moved := m.Rename(Cred{}, Root, "dir", other, "dir", 0)
			for what, err := range map[string]error{"write": written, "truncate": resized, "create": created, "rename": moved} {
				if err != nil && !errors.Is(err, ondisk.ErrCorrupt) && !errors.Is(err, ErrTooBig) && !errors.Is(err, ErrNotExist) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if written == nil && resized == nil && created == nil && moved == nil {
				t.Error("no change met the damage")
			}
			if got := m.names(other); len(got) > 1 {
				t.Errorf("names elsewhere: %q", got)
			}
		})
	}
}

// TestInline_TwoParts: an inode with two attributes of inline data is not written, and one whose size is not what it
// stores is found by the checker.
func TestInline_TwoParts(t *testing.T) {
	m := openMem(t, "inline")
	file, dir := m.mkfile(Root, "file", fill(1, 70)), m.mkdir(Root, "dir")
	is(t, "damage", m.do(opWrite, Cred{}, func(o *op) error {
		n, err := o.inode(file)
		if err != nil {
			return err
		}
		if err := o.setArea(n, []disk.Xattr{inlineAttr(fill(1, 8)), inlineAttr(fill(2, 8))}); err != nil {
			return err
		}
		if n, err = o.inode(dir); err != nil {
			return err
		}
		return o.setSize(n, 64, false)
	}), nil)
	if _, err := m.Write(Cred{}, file, 0, fill(3, 10), false); !errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("written: %v", err)
	}
	m.sync()
	report, err := m.sealed().Check(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"of which 60 are": false, "only 68 are": false}
	for _, p := range report.Problems {
		for text := range want {
			want[text] = want[text] || strings.Contains(fmt.Sprint(p), text)
		}
	}
	for text, found := range want {
		if !found {
			t.Errorf("%q is missing: %v", text, report.Problems)
		}
	}
}
