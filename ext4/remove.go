package ext4

import (
	"errors"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Removed is the inode that an unlink, rmdir or rename removed a name of, and whether that was its last name. It may
// still be in use: Evict frees it.
type Removed struct {
	Node Node
	Last bool
}

// EvictRemoved frees what a removal or a rename took the last name of, for callers that keep no file open. It takes
// their results.
func (w *Writable) EvictRemoved(r Removed, err error) error {
	if err == nil && r.Last {
		err = w.Evict(r.Node)
	}
	return err
}

// Unlink removes a name of a file.
func (w *Writable) Unlink(cred Cred, parent Node, name string) (Removed, error) {
	return w.removeName(cred, parent, name, false)
}

// Rmdir removes an empty directory.
func (w *Writable) Rmdir(cred Cred, parent Node, name string) (Removed, error) {
	switch name {
	case ".":
		return Removed{}, ErrInvalid
	case "..":
		return Removed{}, ErrNotEmpty
	}
	return w.removeName(cred, parent, name, true)
}

func (w *Writable) removeName(cred Cred, parent Node, name string, isDir bool) (Removed, error) {
	if err := checkName(name); err != nil {
		return Removed{}, err
	}
	var out Removed
	err := w.do(opRemove, cred, func(o *op) error {
		dir, err := o.parent(parent)
		if err != nil {
			return err
		}
		d := o.dir(dir)
		at, err := d.find(name)
		if err != nil {
			return err
		}
		n, err := o.child(dir, name, at.ino)
		if err != nil {
			return err
		}
		switch {
		case dir.Has(disk.InodeAppend), n.Has(disk.InodeImmutable | disk.InodeAppend):
			return ErrNotPermit
		case isDir && !n.IsDir():
			return ErrNotDir
		case !isDir && n.IsDir():
			return ErrIsDir
		}
		if isDir {
			o.what = "rmdir"
		}
		if err := d.remove(at); err != nil {
			return err
		}
		o.reach("entry")
		if out, err = o.unname(n); err != nil {
			return err
		}
		if isDir {
			if err := o.linkParent(dir, -1); err != nil {
				return err
			}
		}
		o.reach("inode")
		return o.stamp(dir, disk.OffMtime, disk.OffCtime)
	})
	return out, err
}

// child reads the inode that a name refers to.
func (o *op) child(dir *Inode, name string, ino Ino) (*Inode, error) {
	n := new(Inode)
	if err := dir.ReadChild(n, name, ino); err != nil {
		return nil, err
	}
	o.tx.Group(uint64(ino))
	return n, nil
}

// unname takes one name's link away from an inode. Without links it is an orphan until it is evicted. The link that a
// directory gives to its parent is the caller's.
func (o *op) unname(n *Inode) (Removed, error) {
	out := Removed{Node: NodeOf(n), Last: n.Links == 1 || n.IsDir()}
	if n.IsDir() {
		if err := o.dir(n).checkEmpty(); err != nil {
			return out, err
		}
		if err := o.setInode(n.Ino, disk.OffLinks, []byte{0, 0}); err != nil {
			return out, err
		}
	} else if err := o.dropLink(n); err != nil {
		return out, err
	}
	if out.Last {
		o.addOrphan(n.Ino)
	}
	return out, o.stamp(n, disk.OffCtime)
}

// dropLink removes a link. The rest of the operation depends on whether it was the last one.
func (o *op) dropLink(n *Inode) error {
	if n.Links == 1 {
		if err := o.dependInode(n.Ino, disk.OffLinks, 2); err != nil {
			return err
		}
		return o.addLinks(n, -1, 0, 0)
	}
	return o.addLinks(n, -1, 1, 1<<16-1)
}

// RenameFlags say how a rename treats a name that exists, by the numbers of renameat2(2).
type RenameFlags uint32

// The flags. Exchange stands alone.
const (
	RenameNoReplace RenameFlags = 1 << iota // the new name must be free
	RenameExchange                          // both names exist, and change places
	RenameWhiteout                          // the old name becomes a whiteout (a character device 0, 0)
)

const renameFlags = RenameNoReplace | RenameExchange | RenameWhiteout

// Rename moves a name, in one transaction.
func (w *Writable) Rename(
	cred Cred,
	from Node,
	name string,
	to Node,
	newName string,
	flags RenameFlags,
) (Removed, error) {
	for _, s := range []string{name, newName} {
		if err := checkName(s); err != nil {
			return Removed{}, err
		}
	}
	if flags&^renameFlags != 0 || flags&RenameExchange != 0 && flags != RenameExchange {
		return Removed{}, ErrInvalid
	}
	var out Removed
	err := w.do(opRename, cred, func(o *op) (err error) {
		r := &rename{op: o, name: name, newName: newName, flags: flags}
		out = Removed{}
		if err := r.read(from, to); err != nil {
			return err
		}
		if r.caseOnly() {
			return r.recase()
		}
		if r.target != nil && r.target.Ino == r.n.Ino {
			return nil // two names of one file: nothing happens
		}
		out, err = r.run()
		return err
	})
	return out, err
}

// rename is one attempt at a rename.
type rename struct {
	*op
	name, newName string
	flags         RenameFlags
	old, new      *Inode // the directories; one and the same inode is one value
	n, target     *Inode // target: nil where the new name is free
	at, targetAt  place
}

// read reads what the rename is about, and checks that it may be done.
func (r *rename) read(from, to Node) (err error) {
	if r.old, err = r.parent(from); err != nil {
		return err
	}
	r.new = r.old
	if to.Ino() != from.Ino() {
		if r.new, err = r.parent(to); err != nil {
			return err
		}
	}
	if r.at, err = r.dir(r.old).find(r.name); err != nil {
		return err
	}
	if r.n, err = r.child(r.old, r.name, r.at.ino); err != nil {
		return err
	}
	r.targetAt, err = r.dir(r.new).find(r.newName)
	switch {
	case err == nil:
		if r.target, err = r.child(r.new, r.newName, r.targetAt.ino); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotExist):
		return err
	}
	return r.check()
}

func (r *rename) check() error {
	fixed := uint32(disk.InodeImmutable | disk.InodeAppend)
	exchange := r.flags&RenameExchange != 0
	switch {
	case r.old.Has(disk.InodeAppend),
		r.n.Has(fixed),
		r.target != nil && (r.target.Has(fixed) || r.new.Has(disk.InodeAppend)):
		return ErrNotPermit
	case r.target != nil && r.flags&RenameNoReplace != 0:
		return ErrExists
	case r.target == nil && exchange:
		return ErrNotExist
	case (r.old.Flags|r.new.Flags)&disk.InodeEncrypt != 0:
		return ErrNoKey
	case r.new.Has(disk.InodeProjInherit) && r.new.ProjectID != r.n.ProjectID:
		return ErrCross
	case exchange && r.old.Has(disk.InodeProjInherit) && r.old.ProjectID != r.target.ProjectID:
		return ErrCross
	case r.target == nil || exchange:
	case r.n.IsDir() && !r.target.IsDir():
		return ErrNotDir
	case !r.n.IsDir() && r.target.IsDir():
		return ErrIsDir
	}
	if r.old == r.new {
		return nil
	}
	if r.n.IsDir() {
		if err := r.checkNotBelow(r.new, r.n.Ino); err != nil {
			return err
		}
	}
	if exchange && r.target.IsDir() {
		return r.checkNotBelow(r.old, r.target.Ino)
	}
	return nil
}

// checkNotBelow checks that a directory is not another one or below it, and that it stays so: the rename depends on
// each parent on the way to the root.
func (r *rename) checkNotBelow(dir *Inode, top Ino) error {
	for at, budget := dir, r.w.super.Inodes; at.Ino != RootIno; budget-- {
		if at.Ino == top || budget == 0 {
			return ErrInvalid
		}
		up, _, _, err := r.dir(at).dotDot()
		if err != nil {
			return err
		}
		next := new(Inode)
		if err := r.fs.ReadInode(next, up); err != nil {
			return err
		}
		at = next
	}
	return nil
}

// run makes the changes.
func (r *rename) run() (out Removed, err error) {
	if r.flags&RenameExchange != 0 {
		return out, r.exchange()
	}
	if r.target != nil {
		if out, err = r.unname(r.target); err != nil {
			return out, err
		}
		r.reach("target")
		err = r.dir(r.new).replace(r.targetAt, r.n.Ino, r.at.typ)
	} else {
		err = r.dir(r.new).insert(r.newName, r.n.Ino, r.at.typ)
	}
	if err != nil {
		return out, err
	}
	r.reach("entry")
	if err := r.leave(); err != nil {
		return out, err
	}
	r.reach("source")
	if r.n.IsDir() {
		if err := r.moveDir(); err != nil {
			return out, err
		}
		r.reach("parent")
	}
	return out, r.times(r.n)
}

// caseOnly reports whether the rename gives a name another case, in a directory that ignores case.
func (r *rename) caseOnly() bool {
	return r.old == r.new && r.flags == 0 && r.target != nil && r.at == r.targetAt && r.at.name != r.newName &&
		r.old.Has(disk.InodeCasefold)
}

// recase stores a name in another case.
func (r *rename) recase() error {
	if err := r.dir(r.old).remove(r.at); err != nil {
		return err
	}
	if err := r.dir(r.old).insert(r.newName, r.n.Ino, r.at.typ); err != nil {
		return err
	}
	r.reach("entry")
	return r.times(r.n)
}

// leave takes the old name away, or leaves a whiteout in its place. An insertion may have split the old name's block:
// it is looked for again.
func (r *rename) leave() error {
	d := r.dir(r.old)
	if err := r.reload(r.old); err != nil {
		return err
	}
	at, err := d.find(r.name)
	if err != nil {
		return err
	}
	if r.flags&RenameWhiteout == 0 {
		return d.remove(at)
	}
	w, err := r.create(r.old, CreateOptions{Mode: disk.ModeChar}, true)
	if err != nil {
		return err
	}
	return d.replace(at, w.Ino, disk.FileTypeChar)
}

// moveDir makes a directory that moved name its new parent, and counts its link. The link of one that it replaces
// becomes its own, which needs no room for another (kernel, fs/ext4/namei.c: ext4_rename).
func (r *rename) moveDir() error {
	if r.old != r.new {
		if err := r.dir(r.n).setDotDot(r.new.Ino); err != nil {
			return err
		}
		if r.target == nil {
			return r.moveLink(r.old, r.new)
		}
	}
	if r.target == nil {
		return nil
	}
	return r.linkParent(r.old, -1)
}

// moveLink has one parent count a subdirectory less, and another one more.
func (r *rename) moveLink(from, to *Inode) error {
	if err := r.linkParent(from, -1); err != nil {
		return err
	}
	return r.linkParent(to, 1)
}

func (r *rename) exchange() error {
	r.what = "exchange"
	if err := r.dir(r.old).replace(r.at, r.target.Ino, r.targetAt.typ); err != nil {
		return err
	}
	r.reach("entry")
	if err := r.dir(r.new).replace(r.targetAt, r.n.Ino, r.at.typ); err != nil {
		return err
	}
	if r.old != r.new {
		if err := r.exchangeDirs(); err != nil {
			return err
		}
	}
	if err := r.stamp(r.target, disk.OffCtime); err != nil {
		return err
	}
	return r.times(r.n)
}

// exchangeDirs makes directories that changed places name their new parents. Of two of them the counts stay.
func (r *rename) exchangeDirs() error {
	n, target := r.n.IsDir(), r.target.IsDir()
	if n {
		if err := r.dir(r.n).setDotDot(r.new.Ino); err != nil {
			return err
		}
	}
	if target {
		if err := r.dir(r.target).setDotDot(r.old.Ino); err != nil {
			return err
		}
	}
	switch {
	case n && !target:
		return r.moveLink(r.old, r.new)
	case target && !n:
		return r.moveLink(r.new, r.old)
	}
	return nil
}

func (r *rename) times(n *Inode) error {
	if err := r.stamp(n, disk.OffCtime); err != nil {
		return err
	}
	if err := r.stamp(r.old, disk.OffMtime, disk.OffCtime); err != nil || r.old == r.new {
		return err
	}
	return r.stamp(r.new, disk.OffMtime, disk.OffCtime)
}
