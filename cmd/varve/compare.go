package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// change is a path that differs between two states of a file system.
type change struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "added", "removed", "changed" (contents, target or type), "attributes"
	// What changed: type, inode, contents, target, device, mode, owner, links, flags, xattrs, mtime, ctime
	What []string `json:"what,omitempty"`
}

// diff calls visit for each path in which two states of one file system differ, a directory before what is below it,
// names in ascending order. The kinds are those of the way from before to after.
// A file counts as changed where it is another inode, or its time of change and its size, mode, owner or blocks differ;
// contents are not read. An error of visit ends it. Memory grows with the trees, not with the lengths of their paths.
func diff(before, after *ext4.FS, visit func(change) error) error {
	return (&differ{visit: visit, replaced: sameFS{}.replaced, compare: sameFS{}.compare}).run(before, after)
}

// run compares two trees from their roots on.
func (d *differ) run(before, after *ext4.FS) error {
	a, err := before.Inode(ext4.RootIno)
	if err != nil {
		return err
	}
	b, err := after.Inode(ext4.RootIno)
	if err != nil {
		return err
	}
	d.seenA, d.seenB = map[ext4.Ino]bool{}, map[ext4.Ino]bool{}
	if err := d.open(nil, a, b, ""); err != nil {
		return err
	}
	for len(d.dirs) > 0 {
		if err := d.step(); err != nil {
			return err
		}
	}
	return nil
}

type differ struct {
	visit        func(change) error
	replaced     func(a, b *ext4.Inode) bool // all below a is gone, all below b is new
	compare      func(at *diffName, a, b *ext4.Inode) (kind string, what []string)
	dirs         []diffDir // that are being compared, the innermost one last
	seenA, seenB map[ext4.Ino]bool
}

// diffDir is a directory of both states, or one that came or went as a whole: then kind says which, and a or b is nil.
type diffDir struct {
	at      *diffName
	a, b    *ext4.Inode
	was, is map[string]ext4.Ino
	names   []string // that are left
	kind    string
}

// diffName is a name, and the directory that it is in. The root has none.
type diffName struct {
	up   *diffName
	name string
}

func (n *diffName) String() string {
	size := 0
	for p := n; p != nil; p = p.up {
		size += 1 + len(p.name)
	}
	b := make([]byte, size)
	for p := n; p != nil; p = p.up {
		size -= len(p.name)
		copy(b[size:], p.name)
		size--
		b[size] = '/'
	}
	return string(b)
}

func (d *differ) report(at *diffName, kind string, what ...string) error {
	return d.visit(change{at.String(), kind, what})
}

// namesIn reads a directory: the inode that each name refers to.
func namesIn(n *ext4.Inode) (map[string]ext4.Ino, error) {
	out := map[string]ext4.Ino{}
	err := n.ReadDir(0, func(e ext4.Dirent) bool {
		if name := string(e.Name); name != "." && name != ".." {
			out[name] = e.Ino
		}
		return true
	})
	return out, err
}

// open begins with a directory. a or b may be nil, or no directory: there is nothing below it.
func (d *differ) open(at *diffName, a, b *ext4.Inode, kind string) (err error) {
	f := diffDir{at: at, a: a, b: b, kind: kind}
	for _, side := range []struct {
		n    *ext4.Inode
		seen map[ext4.Ino]bool
		to   *map[string]ext4.Ino
	}{{a, d.seenA, &f.was}, {b, d.seenB, &f.is}} {
		if side.n == nil || !side.n.IsDir() {
			continue
		}
		if side.seen[side.n.Ino] {
			return ondisk.Corruptf(fmt.Sprintf("inode %d", side.n.Ino), "the directory has a second name")
		}
		side.seen[side.n.Ino] = true
		if *side.to, err = namesIn(side.n); err != nil {
			return err
		}
	}
	all := maps.Clone(f.was)
	if all == nil {
		all = map[string]ext4.Ino{}
	}
	maps.Copy(all, f.is)
	f.names = slices.Sorted(maps.Keys(all))
	d.dirs = append(d.dirs, f)
	return nil
}

// step compares the next name of the innermost directory.
func (d *differ) step() error {
	f := &d.dirs[len(d.dirs)-1]
	if len(f.names) == 0 {
		*f = diffDir{}
		d.dirs = d.dirs[:len(d.dirs)-1]
		return nil
	}
	name := f.names[0]
	f.names = f.names[1:]
	at := &diffName{f.at, name}
	var m, n *ext4.Inode
	var err error
	if x, ok := f.was[name]; ok {
		if m, err = f.a.Child(name, x); err != nil {
			return err
		}
	}
	if y, ok := f.is[name]; ok {
		if n, err = f.b.Child(name, y); err != nil {
			return err
		}
	}
	if f.kind != "" {
		if err := d.report(at, f.kind); err != nil {
			return err
		}
		return d.open(at, m, n, f.kind)
	}
	return d.entry(at, m, n)
}

// entry compares what a name referred to before, and refers to now; nil stands for nothing.
func (d *differ) entry(at *diffName, m, n *ext4.Inode) error {
	var kind string
	var what []string
	switch {
	case m == nil:
		kind = "added"
	case n == nil:
		kind = "removed"
	case m.Mode&disk.ModeType != n.Mode&disk.ModeType || d.replaced(m, n):
		if err := d.report(at, "changed", "type"); err != nil {
			return err
		}
		if err := d.open(at, nil, n, "added"); err != nil { // second
			return err
		}
		return d.open(at, m, nil, "removed")
	default:
		kind, what = d.compare(at, m, n)
	}
	if kind != "" {
		if err := d.report(at, kind, what...); err != nil {
			return err
		}
	}
	if m != nil && n != nil {
		kind = ""
	}
	return d.open(at, m, n, kind)
}

// sameFS compares two states of one file system: an inode is the same one where it has its number and generation, and
// its contents are those of before where its time of change is.
type sameFS struct{}

func (sameFS) replaced(m, n *ext4.Inode) bool { return m.IsDir() && ext4.NodeOf(m) != ext4.NodeOf(n) }

func (sameFS) compare(_ *diffName, m, n *ext4.Inode) (kind string, what []string) {
	what = attributesOf(m, n)
	if !n.IsDir() && !m.Ctime.Equal(n.Ctime) {
		what = append(what, "ctime")
	}
	switch {
	case ext4.NodeOf(m) != ext4.NodeOf(n):
		return "changed", append([]string{"inode"}, what...)
	case !n.IsDir() && (m.Size != n.Size || !m.Mtime.Equal(n.Mtime) || m.Blocks != n.Blocks):
		return "changed", append([]string{"contents"}, what...)
	case len(what) > 0:
		return "attributes", what
	}
	return "", nil
}

// attributesOf names the attributes, other than times, in which two inodes differ.
func attributesOf(m, n *ext4.Inode) (what []string) {
	add := func(differs bool, name string) {
		if differs {
			what = append(what, name)
		}
	}
	add(m.Mode != n.Mode, "mode")
	add(m.UID != n.UID || m.GID != n.GID, "owner")
	add(m.Links != n.Links && !n.IsDir(), "links")
	add(m.Flags&ext4.VisibleFlags != n.Flags&ext4.VisibleFlags, "flags")
	return what
}
