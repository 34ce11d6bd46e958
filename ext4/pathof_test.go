package ext4

import (
	"errors"
	"maps"
	"testing"
)

// TestPathOf finds paths of directories by what is above them, and of files by the tree.
func TestPathOf(t *testing.T) {
	eachForm(t, []string{"1k", "linear", "inline"}, func(t *testing.T, m *memFS) {
		a := m.mkdir(Root, "a")
		b := m.mkdir(a, "b")
		m.mkdir(a, "other")
		file := m.mkfile(b, "file", nil)
		lone := m.mkfile(Root, "lone", nil)
		m.unlinkOpen(Root, lone, "lone")
		err := m.View(func(fs *FS) error {
			for ino, want := range map[Ino]string{RootIno: "/", a.Ino(): "/a", b.Ino(): "/a/b"} {
				if got, err := fs.PathOf(ino); err != nil || got != want {
					t.Errorf("inode %d is %q, %v; want %q", ino, got, err, want)
				}
			}
			if _, err := fs.PathOf(file.Ino()); !errors.Is(err, ErrNotDir) {
				t.Errorf("a file has the path of a directory: %v", err)
			}
			got := fs.FindPaths([]Ino{RootIno, b.Ino(), file.Ino(), lone.Ino()}, 100)
			want := map[Ino]string{RootIno: "/", b.Ino(): "/a/b", file.Ino(): "/a/b/file"}
			if !maps.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
			if got := fs.FindPaths([]Ino{file.Ino()}, 2); len(got) != 0 {
				t.Errorf("found %v by two directories", got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := m.Rename(Cred{}, a, "b", Root, "c", 0); err != nil {
			t.Fatal(err)
		}
		_ = m.View(func(fs *FS) error {
			if got, err := fs.PathOf(b.Ino()); err != nil || got != "/c" {
				t.Errorf("after a rename it is %q, %v", got, err)
			}
			return nil
		})
	})
}
