package ext4

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestDirectory_Random puts names of all lengths into a directory and takes them out, and compares it with a set.
func TestDirectory_Random(t *testing.T) {
	eachForm(t, []string{"1k", "4k", "linear", "ext3", "no checksum", "groups"}, func(t *testing.T, m *memFS) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 2))
		dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
		model := map[string]bool{}
		var list []string
		for step := range 700 {
			name := fmt.Sprintf("%d%s", random.IntN(400), strings.Repeat("n", random.IntN(252)))
			if random.IntN(3) == 0 && len(list) > 0 {
				name = list[random.IntN(len(list))]
			}
			if random.IntN(5) < 3 {
				_, err := m.Link(Cred{}, file, dir, name)
				is(t, "link "+name, err, map[bool]error{true: ErrExists}[model[name]])
				if !model[name] {
					model[name] = true
					list = append(list, name)
				}
			} else {
				_, err := m.Unlink(Cred{}, dir, name)
				is(t, "unlink "+name, err, map[bool]error{false: ErrNotExist}[model[name]])
				delete(model, name)
			}
			if step%100 == 99 {
				m.agrees(dir, model)
				m.sync()
			}
		}
		if n := m.stat(file); int(n.Links) != len(model)+1 {
			t.Fatalf("%d links, expected %d", n.Links, len(model)+1)
		}
		m.check()
		m.reopen().agrees(dir, model)
	})
}

// agrees compares a directory's names with a set: listed, and looked up one by one.
func (m *memFS) agrees(dir Node, model map[string]bool) {
	m.t.Helper()
	got := m.names(dir)
	for _, name := range got {
		if !model[name] || m.lookup(dir, name) == 0 {
			m.t.Fatalf("%q: listed, expected %v, and found: %v", name, model[name], m.lookup(dir, name) != 0)
		}
	}
	if len(got) != len(model) {
		m.t.Fatalf("%d names, expected %d", len(got), len(model))
	}
}

// TestDirectory_Names is which names a directory takes.
func TestDirectory_Names(t *testing.T) {
	m := openMem(t, "1k")
	file := m.mkfile(Root, "file", nil)
	for _, c := range []struct {
		name string
		want error
	}{
		{"a", nil}, {strings.Repeat("x", 255), nil}, {"\xff\xfe", nil}, {" ", nil}, {"...", nil},
		{strings.Repeat("x", 256), ErrTooLong}, {"", ErrInvalid}, {".", ErrInvalid}, {"..", ErrInvalid},
		{"a/b", ErrInvalid}, {"a\x00b", ErrInvalid}, {"lost+found", ErrExists},
	} {
		_, err := m.Create(Cred{}, Root, c.name, CreateOptions{Mode: disk.ModeRegular})
		_, again := m.Create(Cred{}, Root, c.name, CreateOptions{Mode: disk.ModeRegular})
		_, linked := m.Link(Cred{}, file, Root, c.name)
		if !errors.Is(err, c.want) || c.want == nil && (!errors.Is(again, ErrExists) || !errors.Is(linked, ErrExists)) {
			t.Errorf("%q: %v, again %v, linked %v; expected %v", c.name, err, again, linked, c.want)
		}
		expected := c.want == nil || c.want == ErrExists
		if found := m.lookup(Root, c.name) != 0; c.name != "" && c.name[0] != '.' && found != expected {
			t.Errorf("%q: found %v, expected %v", c.name, found, expected)
		}
	}
	m.check()
}

// TestDirectory_Gap takes a name out of each place of a block, and puts one of the same length there: the directory
// does not grow.
func TestDirectory_Gap(t *testing.T) {
	for _, form := range []string{"linear", "no checksum", "ext3"} {
		m := openMem(t, form)
		dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
		model := map[string]bool{}
		for i := 0; m.stat(dir).Size == 1024; i++ {
			name := fmt.Sprintf("%03d a name of some length", i)
			if _, err := m.Link(Cred{}, file, dir, name); err != nil {
				t.Fatal(err)
			}
			model[name] = true
		}
		size := m.stat(dir).Size
		for i := range len(model) - 1 {
			old, fresh := fmt.Sprintf("%03d a name of some length", i), fmt.Sprintf("%03d A NAME OF SOME LENGTH", i)
			ok(m.Unlink(Cred{}, dir, old))(t)
			ok(m.Link(Cred{}, file, dir, fresh))(t)
			delete(model, old)
			model[fresh] = true
		}
		if got := m.stat(dir).Size; got != size {
			t.Fatalf("%s: the directory grew from %d to %d bytes", form, size, got)
		}
		m.agrees(dir, model)
		m.check()
	}
}

// TestDirectory_Rmdir is when a directory goes, and what is left of it.
func TestDirectory_Rmdir(t *testing.T) {
	eachForm(t, []string{"1k", "linear", "ext3"}, func(t *testing.T, m *memFS) {
		dir := m.mkdir(Root, "dir")
		file := m.mkfile(dir, "file", nil)
		sub := m.mkdir(dir, "sub")
		for _, c := range []struct {
			what, name string
			parent     Node
			do         func(Cred, Node, string) (Removed, error)
			want       error
		}{
			{"rmdir of a full one", "dir", Root, m.Rmdir, ErrNotEmpty},
			{"unlink of a directory", "dir", Root, m.Unlink, ErrIsDir},
			{"rmdir of a file", "file", dir, m.Rmdir, ErrNotDir},
			{"rmdir .", ".", dir, m.Rmdir, ErrInvalid},
			{"rmdir ..", "..", dir, m.Rmdir, ErrNotEmpty},
			{"rmdir of nothing", "none", dir, m.Rmdir, ErrNotExist},
			{"unlink of nothing", "none", dir, m.Unlink, ErrNotExist},
			{"unlink in a file", "x", file, m.Unlink, ErrNotDir},
			{"rmdir of an empty one", "sub", dir, m.Rmdir, nil},
			{"unlink", "file", dir, m.Unlink, nil},
			{"rmdir when it is empty", "dir", Root, m.Rmdir, nil},
		} {
			r, err := c.do(Cred{}, c.parent, c.name)
			is(t, c.what, err, c.want)
			if c.want == nil && !r.Last {
				t.Fatalf("%s: it was not the last name", c.what)
			}
		}
		for what, err := range map[string]error{
			"create in a removed directory": second(m.Create(Cred{}, dir, "late", CreateOptions{Mode: disk.ModeRegular})),
			"link into it":                  second(m.Link(Cred{}, file, dir, "late")),
		} {
			is(t, what, err, ErrNotExist)
		}
		is(t, "tmpfile in it", second(m.Tmpfile(Cred{}, sub, CreateOptions{Mode: disk.ModeRegular})), ErrNotPermit)

		is(t, "evict", m.Evict(dir), nil)
		_, err := m.Create(Cred{}, dir, "late", CreateOptions{Mode: disk.ModeRegular})
		is(t, "create in an evicted directory", err, ErrStale)
		m.check()
	})
}

func second[T any](_ T, err error) error { return err }

// TestDirectory_Meanwhile runs one change of a directory between another and its commit: who is second sees
// the first.
func TestDirectory_Meanwhile(t *testing.T) {
	eachForm(t, []string{"1k", "linear"}, func(t *testing.T, m *memFS) {
		dir, other := m.mkdir(Root, "dir"), m.mkdir(Root, "other")
		file := m.mkfile(Root, "file", nil)
		m.store.between = func() { m.mkfile(dir, "late", nil) }
		is(t, "rmdir, a file is created meanwhile", second(m.Rmdir(Cred{}, Root, "dir")), ErrNotEmpty)
		m.unlink(dir, "late")
		m.store.between = func() { ok(m.Rmdir(Cred{}, Root, "dir"))(t) }
		_, err := m.Create(Cred{}, dir, "x", CreateOptions{Mode: disk.ModeRegular})
		is(t, "create, the directory goes meanwhile", err, ErrNotExist)
		m.store.between = func() { m.unlink(Root, "file") }
		is(t, "link, the file goes meanwhile", second(m.Link(Cred{}, file, other, "x")), ErrStale)
		m.mkfile(other, "x", nil)
		m.store.between = func() { m.unlink(other, "x") }
		is(t, "unlink twice", second(m.Unlink(Cred{}, other, "x")), ErrNotExist)
		a, b := m.mkdir(other, "a"), m.mkdir(other, "b")
		m.store.between = func() { ok(m.Rename(Cred{}, other, "b", a, "b", 0))(t) }
		is(t, "two directories into each other", second(m.Rename(Cred{}, other, "a", b, "a", 0)), ErrInvalid)
		if got := m.names(a); !slices.Equal(got, []string{"b"}) {
			t.Fatalf("names %q", got)
		}
		m.check()
	})
}

// TestDirectory_Subdirs counts links of a parent, and gives up counting where there are too many.
func TestDirectory_Subdirs(t *testing.T) {
	m := openMem(t, "1k")
	dir := m.mkdir(Root, "dir")
	for i := range 20 { // enough for an index
		m.mkfile(dir, fmt.Sprintf("%d%s", i, strings.Repeat("x", 200)), nil)
	}
	set := func(links uint64) {
		is(t, "set links", m.do(opSetattr, Cred{}, func(o *op) error {
			return o.setInode(dir.Ino(), disk.OffLinks, []byte{byte(links), byte(links >> 8)})
		}), nil)
	}
	for _, c := range []struct{ before, made, removed uint16 }{
		{2, 3, 2}, {1000, 1001, 1000}, {maxLinks64k - 66, maxLinks64k - 65, maxLinks64k - 66},
		{maxLinks64k - 1, maxLinks64k, maxLinks64k - 1}, {maxLinks64k, 1, 1}, {1, 1, 1},
	} {
		set(uint64(c.before))
		m.mkdir(dir, "sub")
		made := m.stat(dir).Links
		ok(m.Rmdir(Cred{}, dir, "sub"))(t)
		if removed := m.stat(dir).Links; made != c.made || removed != c.removed {
			t.Errorf("%d links: %d with one more, %d afterwards; expected %d and %d",
				c.before, made, removed, c.made, c.removed)
		}
	}
	set(2)
	m.check()
}
