package ext4

import (
	"fmt"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// directories reads every directory's entries.
func (c *checker) directories() error {
	if c.inodes.of(RootIno).flags&stateDir == 0 {
		c.problem("root directory", "is none")
	}
	for i, ino := range c.dirs {
		if i%64 == 0 {
			if err := c.progress(i, len(c.dirs)); err != nil {
				return err
			}
		}
		n := new(Inode)
		if err := c.fs.ReadInode(n, ino); err != nil {
			if err := c.damage(fmt.Sprintf("directory %d", ino), err); err != nil {
				return err
			}
			continue
		}
		d := &dirCheck{c: c, n: n, where: fmt.Sprintf("directory %d", ino), names: map[string]bool{}}
		if err := d.run(); err != nil {
			return err
		}
	}
	return nil
}

// dirCheck checks one directory.
type dirCheck struct {
	c      *checker
	n      *Inode
	where  string
	names  map[string]bool
	dots   int
	parent Ino
}

func (d *dirCheck) run() error {
	n, s := d.n, d.c.s
	format := s.DirentFormat(n.Flags)
	if n.Has(disk.InodeInlineData) || n.Has(disk.InodeEncrypt) {
		return d.c.damage(
			d.where,
			n.ReadDir(0, func(e Dirent) bool { d.entry(string(e.Name), e.Ino, e.Type); return true }),
		)
	}
	for b := uint64(0); b < n.Size/uint64(s.BlockSize); b++ {
		r, err := n.mapHome(FileBlock(b))
		if err != nil {
			return d.c.damage(d.where, err)
		}
		if r.Kind != Data {
			d.c.problem(d.where, "block %d is a hole", b)
			b += r.Len - 1
			continue
		}
		p, leaf, err := n.dirBlock(FileBlock(b), r)
		if err != nil {
			if err := d.c.damage(d.where, err); err != nil {
				return err
			}
			continue
		}
		if !leaf {
			continue
		}
		for at := 0; at < len(p); {
			e, err := format.Decode(p, at)
			if err != nil {
				if err := d.c.damage(d.where, err); err != nil {
					return err
				}
				break
			}
			if e.Ino != 0 {
				d.entry(string(e.Name), e.Ino, e.Type)
			}
			at += e.RecLen
		}
	}
	if d.dots != 2 {
		d.c.problem(d.where, "does not begin with entries for itself and its parent")
	}
	if n.hasIndex() {
		return d.checkHashTree()
	}
	if n.Has(disk.InodeIndex) {
		d.c.problem(d.where, "has a hash tree without the feature")
	}
	return nil
}

func (d *dirCheck) entry(name string, ino Ino, typ uint8) {
	c := d.c
	switch {
	case name == ".":
		if d.dots++; ino != d.n.Ino {
			c.problem(d.where, "its own entry refers to inode %d", ino)
		}
	case name == "..":
		d.dots++
		d.parent = ino
	case !goodName([]byte(name)):
		c.problem(d.where, "entry %q is no name", name)
	}
	key := string(d.n.matcher(name).hashed())
	if d.names[key] {
		c.problem(d.where, "entry %q is there twice", name)
	}
	d.names[key] = true
	if uint32(ino) > c.s.Inodes || ino == 0 {
		return
	}
	st := c.inodes.of(ino)
	switch {
	case ino < c.s.FirstIno && ino != RootIno || c.fs.special(ino):
		c.problem(d.where, "entry %q refers to reserved inode %d", name, ino)
		return
	case st.flags&stateInUse == 0:
		c.problem(d.where, "entry %q refers to free inode %d", name, ino)
		return
	case c.s.Incompat&disk.IncompatFiletype != 0 && typ != st.typ:
		c.problem(d.where, "entry %q has type %d, and inode %d is of type %d", name, typ, ino, st.typ)
	}
	c.inodes.at(ino).links++
	if st.flags&stateDir != 0 && name != "." && name != ".." {
		if st.flags&stateParented != 0 || ino == RootIno {
			c.problem(d.where, "entry %q is another name of directory %d", name, ino)
		}
		c.inodes.at(ino).flags |= stateParented
	}
}

// checkHashTree checks the directory's hash tree: every leaf is in it, and its names have the hashes that the index
// says.
func (d *dirCheck) checkHashTree() error {
	root, err := d.n.hashRoot()
	if err != nil {
		return d.c.damage(d.where, err)
	}
	t := &treeCheck{dirCheck: d, version: d.c.s.EffectiveHash(root.node.HashVersion), seen: map[FileBlock]bool{0: true}}
	if err := t.node(root.node, root.node.Levels, 0, 1<<32); err != nil {
		return err
	}
	if want := d.n.Size / uint64(d.c.s.BlockSize); uint64(len(t.seen)) != want && !t.bad {
		d.c.problem(d.where, "its hash tree has %d of %d blocks", len(t.seen), want)
	}
	return nil
}

type treeCheck struct {
	*dirCheck
	version uint8
	seen    map[FileBlock]bool
	bad     bool
}

func (t *treeCheck) node(node disk.HtreeNode, levels int, low, high uint64) error {
	last := uint64(low)
	for i := range node.Count() {
		from, to := low, high
		if i > 0 {
			from = uint64(node.Hash(i))
		}
		if i+1 < node.Count() {
			to = uint64(node.Hash(i + 1))
		}
		if from < last || from > high {
			t.bad = true
			t.c.problem(t.where, "hashes of its tree are out of order")
			return nil
		}
		last = from
		b := node.Child(i)
		if t.seen[b] {
			t.bad = true
			t.c.problem(t.where, "block %d is twice in its hash tree", b)
			continue
		}
		t.seen[b] = true
		if levels > 0 {
			child, err := t.n.hashBlock(b, hashNodeBase)
			if err != nil {
				t.bad = true
				if err := t.c.damage(t.where, err); err != nil {
					return err
				}
				continue
			}
			if err := t.node(child.node, levels-1, from&^1, to); err != nil {
				return err
			}
			continue
		}
		if err := t.leaf(b, from&^1, to); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks the hashes of a leaf's names: from low up to high, and high itself where names of that hash go on in the
// next leaf.
func (t *treeCheck) leaf(b FileBlock, low, high uint64) error {
	p, _, err := t.n.readDirBlock(b)
	if err != nil {
		t.bad = true
		return t.c.damage(t.where, err)
	}
	format := t.c.s.DirentFormat(t.n.Flags)
	for at := 0; at < len(p); {
		e, err := format.Decode(p, at)
		if err != nil {
			return nil // reported before
		}
		at += e.RecLen
		if e.Ino == 0 {
			continue
		}
		h, _, ok := t.c.s.NameHash(t.version, t.n.matcher(string(e.Name)).hashed())
		if ok && (uint64(h) < low || uint64(h) >= high) {
			t.c.problem(t.where, "entry %q is in the wrong leaf of the hash tree", e.Name)
			t.bad = true
			return nil
		}
	}
	return nil
}

// reach walks from the root: every directory is below it, and names the parent that it was found in.
func (c *checker) reach() error {
	queue := []Ino{RootIno}
	c.inodes.at(RootIno).flags |= stateReached
	for len(queue) > 0 {
		ino := queue[0]
		queue = queue[1:]
		n := new(Inode)
		if err := c.fs.ReadInode(n, ino); err != nil {
			continue // reported before
		}
		err := n.readDirHome(0, func(e Dirent) bool {
			name := string(e.Name)
			st := c.inodes.of(e.Ino)
			switch {
			case name == ".." && ino == RootIno && e.Ino != RootIno:
				c.problem("root directory", "its parent is inode %d", e.Ino)
			case name == "." || name == "..":
			case st.flags&stateDir != 0 && st.flags&stateReached == 0:
				c.inodes.at(e.Ino).flags |= stateReached
				c.parent(e.Ino, ino)
				queue = append(queue, e.Ino)
			case st.flags&stateInUse != 0 && st.flags&stateDir == 0:
				c.inodes.at(e.Ino).flags |= stateReached
			}
			return true
		})
		if err := ignoreDamage(err); err != nil {
			return err
		}
	}
	c.inodes.each(func(ino Ino, st *inodeState) {
		if st.flags&(stateInUse|stateReached|stateValue) == stateInUse && ino >= c.s.FirstIno && !c.orphans[ino] &&
			!c.fs.special(ino) {
			c.problem(fmt.Sprintf("inode %d", ino), "has no name that leads to it")
		}
	})
	return nil
}

// parent checks that a directory names the parent that it was found in.
func (c *checker) parent(ino, parent Ino) {
	n := new(Inode)
	if c.fs.ReadInode(n, ino) != nil {
		return
	}
	up := Ino(0)
	_ = n.readDirHome(0, func(e Dirent) bool {
		if string(e.Name) == ".." {
			up = e.Ino
		}
		return up == 0
	})
	if up != 0 && up != parent {
		c.problem(fmt.Sprintf("directory %d", ino), "names inode %d as its parent, and is in %d", up, parent)
	}
}

func ignoreDamage(err error) error {
	c := &checker{out: &CheckReport{}}
	return c.damage("", err)
}
