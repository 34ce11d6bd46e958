package ext4

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// renameTree is what each case of a rename begins with.
//
//	/a/f1 ("one"), /a/f2 ("two"), /a/d/ (with x), /a/e/ (empty), /b/
type renameTree struct {
	*memFS
	a, b, d, e, f1, f2 Node
}

func newRenameTree(t testing.TB, form string) *renameTree {
	m := openMem(t, form)
	r := &renameTree{memFS: m, a: m.mkdir(Root, "a"), b: m.mkdir(Root, "b")}
	r.f1, r.f2 = m.mkfile(r.a, "f1", []byte("one")), m.mkfile(r.a, "f2", []byte("two"))
	r.d, r.e = m.mkdir(r.a, "d"), m.mkdir(r.a, "e")
	m.mkfile(r.d, "x", nil)
	return r
}

// dir is a directory by its letter.
func (r *renameTree) dir(name byte) Node {
	return map[byte]Node{'a': r.a, 'b': r.b, 'd': r.d, 'e': r.e, '/': Root}[name]
}

// tree is the names of the tree, a directory after the other, and which inode each one is.
func (r *renameTree) tree() string {
	var out []string
	nodes := map[Node]string{r.a: "a", r.b: "b", r.d: "d", r.e: "e", r.f1: "f1", r.f2: "f2"}
	var walk func(at Node, path string)
	walk = func(at Node, path string) {
		for _, name := range r.names(at) {
			if name == "lost+found" {
				continue
			}
			n := r.lookup(at, name)
			was := nodes[n]
			st := r.stat(n)
			switch {
			case st.Mode&disk.ModeType == disk.ModeChar:
				was = "whiteout"
			case was == "":
				was = "x"
			}
			out = append(out, fmt.Sprintf("%s%s=%s", path, name, was))
			if st.IsDir() {
				walk(n, path+name+"/")
			}
		}
	}
	walk(Root, "")
	return strings.Join(out, " ")
}

const renameBefore = "a=a a/d=d a/d/x=x a/e=e a/f1=f1 a/f2=f2 b=b"

// TestRename_Cases renames with each flag: what is there afterwards, or the error, after which all is as before.
func TestRename_Cases(t *testing.T) {
	const noReplace, exchange, whiteout = RenameNoReplace, RenameExchange, RenameWhiteout
	cases := []struct {
		from  string // directory and name
		to    string
		flags RenameFlags
		want  string // the tree
		err   error
	}{
		{"a/f1", "a/new", 0, "a=a a/d=d a/d/x=x a/e=e a/f2=f2 a/new=f1 b=b", nil},
		{"a/f1", "b/f1", 0, "a=a a/d=d a/d/x=x a/e=e a/f2=f2 b=b b/f1=f1", nil},
		{"a/f1", "a/f2", 0, "a=a a/d=d a/d/x=x a/e=e a/f2=f1 b=b", nil},
		{"a/f1", "a/f1", 0, renameBefore, nil},
		{"a/d", "b/d2", 0, "a=a a/e=e a/f1=f1 a/f2=f2 b=b b/d2=d b/d2/x=x", nil},
		{"a/d", "a/e", 0, "a=a a/e=d a/e/x=x a/f1=f1 a/f2=f2 b=b", nil},
		{"a/e", "a/d", 0, "", ErrNotEmpty},
		{"a/d", "a/f1", 0, "", ErrNotDir},
		{"a/f1", "a/d", 0, "", ErrIsDir},
		{"a/none", "a/new", 0, "", ErrNotExist},
		{"/a", "d/under", 0, "", ErrInvalid},
		{"/a", "a/under", 0, "", ErrInvalid},
		{"a/.", "a/new", 0, "", ErrInvalid},
		{"a/f1", "a/..", 0, "", ErrInvalid},
		{"a/f1", "a/" + strings.Repeat("n", MaxName+1), 0, "", ErrTooLong},

		{"a/f1", "a/f2", noReplace, "", ErrExists},
		{"a/f1", "b/f3", noReplace, "a=a a/d=d a/d/x=x a/e=e a/f2=f2 b=b b/f3=f1", nil},

		{"a/f1", "a/f2", exchange, "a=a a/d=d a/d/x=x a/e=e a/f1=f2 a/f2=f1 b=b", nil},
		{"a/f1", "a/d", exchange, "a=a a/d=f1 a/e=e a/f1=d a/f1/x=x a/f2=f2 b=b", nil},
		{"a/d", "/b", exchange, "a=a a/d=b a/e=e a/f1=f1 a/f2=f2 b=d b/x=x", nil},
		{"a/f1", "a/none", exchange, "", ErrNotExist},
		{"/a", "a/d", exchange, "", ErrInvalid},
		{"a/d", "/a", exchange, "", ErrInvalid},

		{"a/f1", "b/f1", whiteout, "a=a a/d=d a/d/x=x a/e=e a/f1=whiteout a/f2=f2 b=b b/f1=f1", nil},
		{"a/f1", "a/f2", whiteout, "a=a a/d=d a/d/x=x a/e=e a/f1=whiteout a/f2=f1 b=b", nil},
		{"a/f1", "b/f3", whiteout | noReplace, "a=a a/d=d a/d/x=x a/e=e a/f1=whiteout a/f2=f2 b=b b/f3=f1", nil},
		{"a/f1", "a/f2", exchange | whiteout, "", ErrInvalid},
		{"a/f1", "a/f2", exchange | noReplace, "", ErrInvalid},
		{"a/f1", "b/f3", 8, "", ErrInvalid},
	}
	for _, form := range []string{"1k", "ext3"} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s/%s to %.9s flags %d", form, c.from, c.to, c.flags), func(t *testing.T) {
				r := newRenameTree(t, form)
				_, err := r.Rename(Cred{}, r.dir(c.from[0]), c.from[strings.Index(c.from, "/")+1:],
					r.dir(c.to[0]), c.to[strings.Index(c.to, "/")+1:], c.flags)
				is(t, "rename", err, c.err)
				want := c.want
				if c.err != nil {
					want = renameBefore
				}
				if got := r.tree(); got != want {
					t.Fatalf("the tree is\n%s, expected\n%s", got, want)
				}
				r.check()
			})
		}
	}
}

// TestRename_Links counts links: of the directories that a subdirectory leaves and enters, and of what is replaced.
func TestRename_Links(t *testing.T) {
	r := newRenameTree(t, "1k")
	links := func(what string, want ...uint16) {
		t.Helper()
		got := []uint16{r.stat(r.a).Links, r.stat(r.b).Links, r.stat(r.f1).Links}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: links of a, b and f1 are %d, expected %d", what, got, want)
		}
	}
	rename := func(from Node, name string, to Node, newName string) Removed {
		t.Helper()
		return ok(r.Rename(Cred{}, from, name, to, newName, 0))(t)
	}
	links("before", 4, 2, 1)
	rename(r.a, "d", r.b, "d")
	links("a directory moves", 3, 3, 1)
	if out := rename(r.b, "d", r.a, "e"); !out.Last || out.Node != r.e {
		t.Fatalf("a directory is replaced: %+v", out)
	}
	links("over another one", 3, 2, 1)
	ok(r.Link(Cred{}, r.f1, r.b, "second"))(t)
	links("a second name", 3, 2, 2)
	if out := rename(r.a, "f2", r.b, "second"); out.Last || out.Node != r.f1 {
		t.Fatalf("one of two names is replaced: %+v", out)
	}
	links("over one of two names", 3, 2, 1)
	if out := rename(r.b, "second", r.a, "f1"); !out.Last || out.Node != r.f1 {
		t.Fatalf("the last name is replaced: %+v", out)
	}
	if got := string(r.read(r.f1)); got != "one" {
		t.Fatalf("an open file without names has %q", got)
	}
	is(t, "evict", r.Evict(r.f1), nil)
	r.check()
}

// TestRename_SameFile: two names of one file stay as they are.
func TestRename_SameFile(t *testing.T) {
	r := newRenameTree(t, "1k")
	ok(r.Link(Cred{}, r.f1, r.b, "alias"))(t)
	ok(r.Rename(Cred{}, r.a, "f1", r.b, "alias", 0))(t)
	if r.lookup(r.a, "f1") != r.f1 || r.lookup(r.b, "alias") != r.f1 {
		t.Fatal("one of two names of a file is gone")
	}
	r.check()
}

// TestRename_Fixed: what is immutable or only grows keeps its names, and directories that only grow lose none.
func TestRename_Fixed(t *testing.T) {
	for _, flag := range []uint32{disk.InodeImmutable, disk.InodeAppend} {
		for _, c := range []struct {
			of   byte // a directory, or 1 and 2 for f1 and f2
			to   string
			want error
		}{
			{'1', "new", ErrNotPermit}, {'2', "f2", ErrNotPermit}, {'2', "new", nil}, {'a', "new", ErrNotPermit},
		} {
			r := newRenameTree(t, "1k")
			node := map[byte]Node{'1': r.f1, '2': r.f2, 'a': r.a}[c.of]
			flags := r.stat(node).Flags&VisibleFlags | flag
			is(t, "chattr", r.SetFlags(Cred{}, node, flags), nil)
			_, err := r.Rename(Cred{}, r.a, "f1", r.a, c.to, 0)
			is(t, fmt.Sprintf("flag 0x%x of %c, to %s", flag, c.of, c.to), err, c.want)
		}
	}
}

// TestRename_Project: nothing enters a project's directory but its own files.
func TestRename_Project(t *testing.T) {
	r := newRenameTree(t, "project")
	const inherit = 0x200
	is(t, "set the project", r.SetFileAttr(Cred{}, r.b, FileAttr{Xflags: inherit, Project: 7}), nil)
	_, err := r.Rename(Cred{}, r.a, "f1", r.b, "f1", 0)
	is(t, "into another project", err, ErrCross)
	own := r.mkfile(r.b, "own", nil)
	if got := r.stat(own).ProjectID; got != 7 {
		t.Fatalf("a new file is of project %d", got)
	}
	_, err = r.Rename(Cred{}, r.b, "own", r.a, "f1", RenameExchange)
	is(t, "exchange between projects", err, ErrCross)
	_, err = r.Link(Cred{}, r.f1, r.b, "link")
	is(t, "a link into another project", err, ErrCross)
	ok(r.Rename(Cred{}, r.b, "own", r.a, "out", 0))(t)
	r.check()
}

// TestRename_Meanwhile moves each of two directories into the other one at a time: one of them fails, and no cycle is
// left.
func TestRename_Meanwhile(t *testing.T) {
	r := newRenameTree(t, "1k")
	var other error
	r.store.between = func() { _, other = r.Rename(Cred{}, Root, "b", r.d, "b", 0) }
	_, err := r.Rename(Cred{}, r.a, "d", r.b, "d", 0)
	is(t, "the one that came first", other, nil)
	is(t, "the one that came second", err, ErrInvalid)
	if got := r.tree(); got != "a=a a/d=d a/d/b=b a/d/x=x a/e=e a/f1=f1 a/f2=f2" {
		t.Fatal(got)
	}
	r.check()
}
