package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

const (
	noIno        = Ino(1<<32 - 1) // stands in an entry for the inode of a value that has none yet
	maxValueRefs = 1<<32 - 1
	maxValueRuns = maxXattrValue >> 10 // of the blocks of a value
	maxValues    = 8                   // that one transaction drops from an inode that is freed
)

// valueRefs is how many references to values in inodes of their own a change adds, or takes away where it is less than
// 0. They are counted when all of the change is known: what goes and comes again is left alone.
type valueRefs map[Ino]int

func (r valueRefs) add(attrs []disk.Xattr, delta int) {
	for _, x := range attrs {
		if x.ValueIno != 0 {
			r[x.ValueIno] += delta
		}
	}
}

// putValue finds or makes the inode that holds an attribute's value, and returns the attribute as its entry has it. An
// inode that is new has its reference already.
func (o *op) putValue(n *Inode, x disk.Xattr, refs valueRefs) (disk.Xattr, error) {
	hash := o.w.super.XattrValueHash(x.Value)
	ino, err := o.sharedValue(x.Value, hash)
	if err == nil && ino == 0 {
		if ino, err = o.newValue(n, x.Value, hash); err == nil {
			refs[ino]--
		}
	}
	o.reach("value")
	return x.InValueInode(ino, hash), err
}

// sharedValue is an inode that holds a value, and can take one more reference, or 0 where none is known. A value does
// not change while there are references to its inode, so the operation depends on that the inode is still the same.
func (o *op) sharedValue(value []byte, hash uint32) (Ino, error) {
	ino, known := o.w.values.find(value)
	if !known {
		return 0, nil
	}
	v, err := o.value(ino)
	if errors.Is(err, ondisk.ErrCorrupt) {
		return 0, nil // forgotten, and not seen yet by this snapshot; or damaged
	}
	if err != nil || v.EAHash != hash || v.Size != uint64(len(value)) || v.EARefs == 0 || v.EARefs >= maxValueRefs {
		return 0, err
	}
	if old, err := v.readAll(len(value)); err != nil || !bytes.Equal(old, value) {
		return 0, ignoreDamage(err)
	}
	fields := []uint32{disk.OffAtime, disk.OffGeneration, disk.OffFlags}
	if mutant.Off(mutant.ValueShared) {
		fields = nil
	}
	for _, off := range fields {
		if err := o.dependInode(ino, off, 4); err != nil {
			return 0, err
		}
	}
	return ino, nil
}

// newValue makes an inode that holds a value, with one reference.
func (o *op) newValue(n *Inode, value []byte, hash uint32) (Ino, error) {
	s := o.w.super
	v := &Inode{fs: o.fs}
	v.Mode, v.UID, v.GID, v.Links = disk.ValueMode, n.UID, n.GID, 1
	v.Mtime, v.Crtime = o.now, o.now
	v.EAHash, v.EARefs = hash, 1
	v.Size, v.Flags = uint64(len(value)), disk.InodeEAInode
	v.ExtraIsize = s.NewExtraIsize()
	v.Block = make([]byte, disk.BlockBytes)
	if s.Incompat&disk.IncompatExtents != 0 {
		v.Flags |= disk.InodeExtents
		v.Block = disk.EmptyExtentRoot()
	}
	if err := o.newInode(v, n); err != nil {
		return 0, err
	}
	if err := o.writeBlocks(v, 0, value); err != nil {
		return 0, err
	}
	sum := o.w.values.sum(value)
	o.tx.Sequenced(func(block.Seq) { o.w.values.record(v.Ino, sum) })
	return v.Ino, nil
}

// value reads the inode of a value.
func (o *op) value(ino Ino) (*Inode, error) {
	v := new(Inode)
	err := o.fs.ReadInode(v, ino)
	switch {
	case err != nil && !errors.Is(err, ErrNotExist):
		return nil, err
	case err != nil, ino < o.w.super.FirstIno, o.fs.special(ino), !v.Has(disk.InodeEAInode), !v.IsRegular(),
		v.Has(disk.InodeInlineData), v.Links != 1, v.HasXattrs():
		return nil, ondisk.Corruptf(fmt.Sprintf("inode %d", ino), "should hold the value of an attribute, and does not")
	}
	return v, nil
}

// ownValues is how many values in inodes of their own an inode's attributes have, and what they add to its Blocks.
// Values that Lustre made do not count.
func (o *op) ownValues(n *Inode, attrs []disk.Xattr) (values, units int64) {
	for _, x := range attrs {
		if x.ValueIno == 0 {
			continue
		}
		if v, err := o.value(x.ValueIno); err == nil && (&Xattr{node: n}).madeByLustre(v) {
			continue
		}
		values, units = values+1, units+int64(o.w.super.ValueUnits(x.Size))
	}
	return values, units
}

// addValues counts values that an inode gets or loses, and their blocks, for its owner: also those that other inodes
// share.
func (o *op) addValues(n *Inode, values, units int64) error {
	if values != 0 {
		if err := o.charge(n, 0, values); err != nil {
			return err
		}
	}
	return o.addUnits(n, units)
}

// countValues counts what a change of an inode's attributes has done to the references to values, and frees the values
// that have none any more.
func (o *op) countValues(n *Inode, refs valueRefs) error {
	for _, ino := range slices.Sorted(maps.Keys(refs)) {
		if err := o.countValue(n, ino, refs[ino]); err != nil {
			return err
		}
	}
	return nil
}

func (o *op) countValue(n *Inode, ino Ino, delta int) error {
	if delta == 0 {
		return nil
	}
	v, err := o.value(ino)
	if err != nil {
		return n.wrap(err)
	}
	if delta < 0 && (&Xattr{node: n}).madeByLustre(v) {
		return o.freeValue(v)
	}
	left := int64(v.EARefs) + int64(delta)
	if v.EARefs == 0 || v.EARefs > maxValueRefs || left < 0 || left > maxValueRefs {
		return ondisk.Corruptf(v.where(), "%d references to its value, and %d more", v.EARefs, delta)
	}
	// Of two operations that take the last references away, each would leave the other's: the bounds let one stand. A
	// value is shared only where there is a reference.
	low, high := uint64(1), uint64(maxValueRefs)
	switch {
	case mutant.Off(mutant.ValueCount):
		low = 0
	case left == 0:
		low, high = 0, 0
	case delta > 0:
		low = uint64(delta) + 1
	}
	err = o.editInode(ino, func(at uint32) merge.Edit {
		return merge.Add(merge.Field{Off: at + disk.OffValueRefs, Width: 4}, int64(delta), low, high)
	})
	if err != nil || left > 0 {
		return err
	}
	return o.freeValue(v)
}

// freeValue frees the inode of a value, in the transaction that takes its last reference away: the kernel does not
// recover a list of orphans that has it.
func (o *op) freeValue(v *Inode) error {
	done, err := o.cutRuns(v, 0, maxFileBlocks, maxValueRuns)
	if err != nil {
		return err
	}
	if !done {
		return ondisk.Corruptf(v.where(), "a value of %d bytes in more than %d pieces", v.Size, maxValueRuns)
	}
	o.tx.Sequenced(func(block.Seq) { o.w.values.forget(v.Ino) })
	return o.freeInode(v)
}

// dropAttributes takes the attributes away from an inode that is about to be freed. If they have many values in inodes
// of their own it takes some, and reports that it is not done. Damaged ones stay in use until e2fsck repairs them.
func (o *op) dropAttributes(n *Inode) (done bool, err error) {
	refs := valueRefs{}
	done, err = o.dropValues(n, refs)
	if err == nil && done {
		err = o.dropXattrBlock(n, refs)
	}
	if errors.Is(err, ondisk.ErrCorrupt) {
		go o.w.Damaged("free an inode", err)
		done, err = true, nil
	}
	for _, ino := range slices.Sorted(maps.Keys(refs)) {
		if err != nil {
			return false, err
		}
		if err = o.countValue(n, ino, refs[ino]); errors.Is(err, ondisk.ErrCorrupt) {
			go o.w.Damaged("free an attribute's value", err)
			err = nil
		}
	}
	return done, err
}

// dropValues takes entries with values in inodes of their own away from an inode and its block, up to maxValues of
// them. If that is all of them, those that are in the inode go with it, and those in the block with that.
func (o *op) dropValues(n *Inode, refs valueRefs) (done bool, err error) {
	if o.w.super.Incompat&disk.IncompatEAInode == 0 || !n.HasXattrs() {
		return true, nil
	}
	a, err := o.readXattrs(n)
	if err != nil {
		return true, err
	}
	lose := func(old, now []disk.Xattr) error {
		values, units := o.ownValues(n, old)
		left, unitsLeft := o.ownValues(n, now)
		return o.addValues(n, left-values, unitsLeft-units)
	}
	if rest, more := dropFirstValues(a.inside); more {
		if err := lose(a.inside, rest); err != nil {
			return false, err
		}
		return false, o.putInside(n, a.inside, rest, refs)
	}
	if rest, more := dropFirstValues(a.outside); more && a.refs == 1 {
		if err := lose(a.outside, rest); err != nil {
			return false, err
		}
		return false, o.trimXattrBlock(n, a.outside, rest, refs)
	}
	refs.add(a.inside, -1)
	return true, lose(append(a.inside, a.outside...), nil)
}

// trimXattrBlock takes attributes away from a block that one inode has, and keeps it.
func (o *op) trimXattrBlock(n *Inode, old, now []disk.Xattr, refs valueRefs) error {
	p, ok := o.w.super.EncodeXattrBlock(now)
	if !ok {
		return ondisk.Corruptf(n.where(), "attributes do not fit in their block")
	}
	refs.add(old, -1)
	refs.add(now, 1)
	at := n.FileACL
	o.tx.Sequenced(func(block.Seq) { o.w.shared.forget(at) })
	return o.edit(at, kindXattrs, 0, merge.Whole(p))
}

// dropFirstValues is attributes without the first maxValues of those that have a value in an inode of its own, and
// reports whether there are more.
func dropFirstValues(attrs []disk.Xattr) (rest []disk.Xattr, more bool) {
	found := 0
	rest = slices.DeleteFunc(slices.Clone(attrs), func(x disk.Xattr) bool {
		if x.ValueIno != 0 {
			found++
		}
		return x.ValueIno != 0 && found <= maxValues
	})
	return rest, found > maxValues
}
