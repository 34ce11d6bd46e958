package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// VisibleFlags are the flags of inodes that lsattr(1) shows (kernel, fs/ext4: EXT4_FL_USER_VISIBLE).
const VisibleFlags = 0x725bdfff

// The flags that chattr(1) sets (EXT4_FL_USER_MODIFIABLE), and the flags that files do not have (EXT4_REG_FLMASK).
const (
	userModifiable = 0x604bc0ff | disk.InodeDAX
	notOfFiles     = dirOnlyFlags | disk.InodeCasefold
	// Flags that need more than a bit, and that varve does not act upon.
	refusedFlags = disk.InodeJournalData
)

// SetFlags sets the flags that chattr(1) sets (FS_IOC_SETFLAGS). Those that no user may set stay as they are; those
// that varve does not act upon are refused. Without the flag of extents a file gets block pointers, and the other way
// round, if it is short enough; if it is not, the other flags are set nevertheless, as the kernel does.
func (w *Writable) SetFlags(cred Cred, node Node, flags uint32) error {
	return w.changeFlags(cred, node, func(uint32) uint32 { return flags }, nil)
}

// changeFlags is one transaction, in which wanted makes the flags that users see out of those that there are. project
// may be nil.
func (w *Writable) changeFlags(cred Cred, node Node, wanted func(now uint32) uint32, project *uint32) error {
	var migration error
	err := w.do(opSetattr, cred, func(o *op) error {
		migration = nil
		n, err := o.inode(node)
		if err != nil {
			return err
		}
		if migration, err = o.changeFlags(n, wanted(n.Flags&VisibleFlags)); err != nil {
			return err
		}
		if project != nil {
			if err := o.changeProject(n, *project); err != nil {
				return err
			}
		}
		return o.stamp(n, disk.OffCtime)
	})
	if err == nil {
		err = migration
	}
	return err
}

// changeFlags sets an inode's flags. migration is why its blocks keep their form, although that was to change.
func (o *op) changeFlags(n *Inode, flags uint32) (migration, err error) {
	wanted := flags & userModifiable
	changed := (wanted ^ n.Flags) & userModifiable
	switch {
	case flags&^uint32(VisibleFlags) != 0,
		n.IsRegular() && flags&notOfFiles != 0,
		!n.IsRegular() && !n.IsDir() && flags&^uint32(otherFlags) != 0,
		changed&refusedFlags != 0:
		return nil, ondisk.ErrUnsupported
	case n.IsRegular() && n.Has(disk.InodeEncrypt):
		return nil, ErrNoKey // the kernel opens no such file to set flags of
	case n.Has(disk.InodeVerity) && changed&(disk.InodeDAX|disk.InodeExtents) != 0:
		return nil, ondisk.ErrUnsupported
	case changed&disk.InodeCasefold != 0 && o.w.super.Incompat&disk.IncompatCasefold == 0:
		return nil, ondisk.ErrUnsupported
	case o.cred.UID != 0 && (o.cred.UID != n.UID || changed&(disk.InodeImmutable|disk.InodeAppend) != 0):
		return nil, ErrNotPermit
	}
	if err := o.dependMap(n); err != nil {
		return nil, err
	}
	if changed&disk.InodeCasefold != 0 {
		if n.Has(disk.InodeEncrypt) {
			return nil, ErrNoKey
		}
		if err := o.dir(n).checkEmpty(); err != nil {
			return nil, err
		}
	}
	if err := o.setFlags(n, n.Flags&^uint32(userModifiable&^disk.InodeExtents)|wanted&^disk.InodeExtents); err != nil {
		return nil, err
	}
	if changed&disk.InodeExtents == 0 {
		return nil, nil
	}
	root, migration := o.migrated(n)
	if migration != nil {
		return migration, nil
	}
	return nil, o.migrate(n, root)
}

// migrated is a file's Block in the other of the two forms.
func (o *op) migrated(n *Inode) ([]byte, error) {
	if o.w.super.Incompat&disk.IncompatExtents == 0 || n.Has(disk.InodeInlineData) {
		return nil, ErrInvalid
	}
	if n.Has(disk.InodeExtents) {
		return pointersOf(n)
	}
	return extentsOf(n)
}

// pointersOf makes direct pointers of one extent.
func pointersOf(n *Inode) ([]byte, error) {
	root := extNode{p: n.Block}
	if _, err := disk.DecodeExtentRoot(n.Block); err != nil {
		return nil, n.wrap(err)
	}
	out := make([]byte, disk.BlockBytes)
	if root.depth() > 0 || root.count() > 1 {
		return nil, ondisk.ErrUnsupported
	}
	if root.count() == 1 {
		e := root.extent(0)
		if endOf(e) > directPointers || e.Unwritten || e.Start+block.Number(e.Len) > 1<<32 {
			return nil, ondisk.ErrUnsupported
		}
		for i := range e.Len {
			binary.LittleEndian.PutUint32(out[(uint32(e.File)+i)*pointerSize:], uint32(e.Start)+i)
		}
	}
	return out, nil
}

// extentsOf makes a root of extents of direct pointers.
func extentsOf(n *Inode) ([]byte, error) {
	root := extNode{p: disk.EmptyExtentRoot()}
	var last disk.Extent
	for i := range len(n.Block) / pointerSize {
		at := block.Number(binary.LittleEndian.Uint32(n.Block[i*pointerSize:]))
		k := root.count()
		switch {
		case at == 0:
		case i >= directPointers:
			return nil, ondisk.ErrUnsupported
		case k > 0 && endOf(last) == uint64(i) && last.Start+block.Number(last.Len) == at:
			last.Len++
			root.put(k-1, last)
		case k == root.capacity():
			return nil, ondisk.ErrUnsupported
		default:
			last = disk.Extent{File: FileBlock(i), Len: 1, Start: at}
			root.setCount(k + 1)
			root.put(k, last)
		}
	}
	return root.p, nil
}

// migrate gives a file its Block in the other form.
func (o *op) migrate(n *Inode, root []byte) error {
	n.Block = root
	if err := o.setInode(n.Ino, disk.OffBlock, root); err != nil {
		return err
	}
	return o.setFlags(n, n.Flags^disk.InodeExtents)
}

// changeProject sets an inode's project.
func (o *op) changeProject(n *Inode, project uint32) error {
	switch {
	case n.ProjectID == project:
		return nil
	case o.w.super.ROCompat&disk.ROCompatProject == 0 || !n.HasField(disk.OffProject):
		return ondisk.ErrUnsupported
	}
	if err := o.transfer(n, func(n *Inode) { n.ProjectID = project }); err != nil {
		return err
	}
	return o.setInode(n.Ino, disk.OffProject, binary.LittleEndian.AppendUint32(nil, project))
}
