package ext4

import (
	"maps"
	"slices"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Change is a path that differs between two states of a file system.
type Change struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "added", "removed", "changed" (contents, target or type), "attributes"
}

// Diff lists the paths in which two states of one file system differ, in order: from the first to the second. A file counts as changed where it is another
// inode, or its time of change and its size, mode, owner or blocks differ; contents are not read.
func Diff(before, after *FS) ([]Change, error) {
	a, err := before.Inode(RootIno)
	if err != nil {
		return nil, err
	}
	b, err := after.Inode(RootIno)
	if err != nil {
		return nil, err
	}
	d := &differ{}
	err = d.dir(a, b, "")
	return d.out, err
}

type differ struct{ out []Change }

func (d *differ) add(path, kind string) { d.out = append(d.out, Change{path, kind}) }

// names reads a directory: the inode that each name refers to.
func names(n *Inode) (map[string]Ino, error) {
	out := map[string]Ino{}
	err := n.ReadDir(0, func(e Dirent) bool {
		if name := string(e.Name); name != "." && name != ".." {
			out[name] = e.Ino
		}
		return true
	})
	return out, err
}

func (d *differ) dir(a, b *Inode, path string) error {
	was, err := names(a)
	if err != nil {
		return err
	}
	is, err := names(b)
	if err != nil {
		return err
	}
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := path + "/" + name
		x, inA := was[name]
		y, inB := is[name]
		if err := d.entry(a, b, name, p, x, y, inA, inB); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) entry(a, b *Inode, name, path string, x, y Ino, inA, inB bool) error {
	var m, n *Inode
	var err error
	if inA {
		if m, err = a.Child(name, x); err != nil {
			return err
		}
	}
	if inB {
		if n, err = b.Child(name, y); err != nil {
			return err
		}
	}
	switch {
	case !inA:
		d.add(path, "added")
		return d.all(n, path, "added")
	case !inB:
		d.add(path, "removed")
		return d.all(m, path, "removed")
	case m.Mode&disk.ModeType != n.Mode&disk.ModeType || m.IsDir() && NodeOf(m) != NodeOf(n):
		d.add(path, "changed")
		if err := d.all(m, path, "removed"); err != nil {
			return err
		}
		return d.all(n, path, "added")
	}
	if NodeOf(m) != NodeOf(n) || !n.IsDir() && (m.Size != n.Size || !m.Mtime.Equal(n.Mtime) || m.Blocks != n.Blocks) {
		d.add(path, "changed")
	} else if m.Mode != n.Mode || m.UID != n.UID || m.GID != n.GID || m.Links != n.Links && !n.IsDir() || m.Flags&userVisible != n.Flags&userVisible ||
		!n.IsDir() && !m.Ctime.Equal(n.Ctime) {
		d.add(path, "attributes")
	}
	if n.IsDir() {
		return d.dir(m, n, path)
	}
	return nil
}

// all lists what is below a directory that came or went as a whole.
func (d *differ) all(n *Inode, path, kind string) error {
	if !n.IsDir() {
		return nil
	}
	below, err := names(n)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		c, err := n.Child(name, below[name])
		if err != nil {
			return err
		}
		d.add(path+"/"+name, kind)
		if err := d.all(c, path+"/"+name, kind); err != nil {
			return err
		}
	}
	return nil
}
