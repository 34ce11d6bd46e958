package ext4

import (
	"errors"

	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// CreateOptions say what to create.
type CreateOptions struct {
	Mode         uint16 // type and permissions, before the umask
	Umask        uint16 // not applied where the directory has a default ACL
	Major, Minor uint32 // of a device
	Target       string // of a symlink
}

const (
	maxLinks64k = 65000
	setgid      = 0o2000
	setuid      = 0o4000
)

// Flags that new inodes inherit from their directory (kernel, fs/ext4: EXT4_FL_INHERITED, EXT4_REG_FLMASK,
// EXT4_OTHER_FLMASK).
const (
	inheritedFlags = 0x1 | 0x2 | 0x4 | disk.InodeSync | disk.InodeNoDump | disk.InodeNoAtime | 0x400 |
		disk.InodeJournalData | disk.InodeNoTail |
		disk.InodeDirSync | disk.InodeProjInherit | disk.InodeDAX | disk.InodeCasefold
	dirOnlyFlags = disk.InodeDirSync | disk.InodeTopDir | disk.InodeProjInherit
	otherFlags   = disk.InodeNoDump | disk.InodeNoAtime
)

// Create makes a file, directory, symlink or special file, and returns it.
func (w *Writable) Create(cred Cred, parent Node, name string, c CreateOptions) (Inode, error) {
	if err := checkName(name); err != nil {
		return Inode{}, err
	}
	var out Inode
	err := w.do(opCreate, cred, func(o *op) error {
		dir, err := o.parent(parent)
		if err != nil {
			return err
		}
		n, err := o.create(dir, c, true)
		if err != nil {
			return err
		}
		o.what = creating(n)
		o.reach("inode")
		if err := o.dir(dir).insert(name, n.Ino, fileType(c.Mode)); err != nil {
			return err
		}
		o.reach("entry")
		if n.IsDir() {
			if err := o.linkParent(dir, 1); err != nil {
				return err
			}
			o.reach("parent")
		}
		if err := o.stamp(dir, disk.OffMtime, disk.OffCtime); err != nil {
			return err
		}
		out, err = o.result(n.Ino)
		return err
	})
	return out, err
}

// creating names the operation that creates an inode, for messages.
func creating(n *Inode) string {
	switch {
	case n.IsDir():
		return "mkdir"
	case n.IsSymlink():
		return "symlink"
	case n.IsRegular():
		return "create"
	}
	return "mknod"
}

// Tmpfile makes a regular file without a name (O_TMPFILE). It lives until Evict, or gets a name by Link.
func (w *Writable) Tmpfile(cred Cred, parent Node, c CreateOptions) (Inode, error) {
	var out Inode
	err := w.do(opCreate, cred, func(o *op) error {
		dir, err := o.parent(parent)
		if errors.Is(err, ErrNotExist) {
			return ErrNotPermit // of a removed directory, as the kernel says it
		}
		if err != nil {
			return err
		}
		n, err := o.create(dir, c, false)
		if err != nil {
			return err
		}
		o.what = "tmpfile"
		o.reach("inode")
		o.orphans = append(o.orphans, orphanChange{ino: n.Ino, add: true, linkable: true})
		out, err = o.result(n.Ino)
		return err
	})
	return out, err
}

// parent reads a directory that is about to be changed.
func (o *op) parent(node Node) (*Inode, error) {
	dir, err := o.inode(node)
	if err != nil {
		return nil, err
	}
	switch {
	case !dir.IsDir():
		return nil, ErrNotDir
	case dir.Has(disk.InodeImmutable):
		return nil, ErrNotPermit
	}
	return dir, o.checkNotRemoved(dir)
}

// create makes an inode without a name.
func (o *op) create(dir *Inode, c CreateOptions, linked bool) (*Inode, error) {
	if dir.Has(disk.InodeEncrypt) {
		return nil, ErrNoKey
	}
	if fileType(c.Mode) == 0 {
		return nil, ErrInvalid
	}
	n := &Inode{fs: o.fs}
	n.Mode, n.UID, n.GID = c.Mode, o.cred.UID, o.cred.GID
	n.Atime, n.Mtime, n.Ctime, n.Crtime = o.now, o.now, o.now, o.now
	n.ExtraIsize = o.w.super.NewExtraIsize()
	n.Block = make([]byte, disk.BlockBytes)
	if linked {
		n.Links = 1
	}
	n.Flags = dir.Flags & inheritedFlags
	switch {
	case n.IsDir():
		n.Links = 2
	case n.IsRegular():
		n.Flags &^= notOfFiles
	default:
		n.Flags &= otherFlags
	}
	if dir.Has(disk.InodeProjInherit) && o.w.super.ROCompat&disk.ROCompatProject != 0 {
		n.ProjectID = dir.ProjectID
	}
	if dir.Mode&setgid != 0 {
		n.GID = dir.GID
		if n.IsDir() {
			n.Mode |= setgid
		}
	}
	acl, defaults, err := o.inheritACL(dir, n, c.Umask)
	if err != nil {
		return nil, err
	}
	slow := n.IsSymlink() && len(c.Target) >= disk.BlockBytes
	switch {
	case n.IsSymlink() && len(c.Target) >= int(o.w.super.BlockSize):
		return nil, ErrTooLong
	case n.IsSymlink() && c.Target == "":
		return nil, ErrNotExist // as symlink(2) says it
	case n.IsSymlink():
		n.Size = uint64(len(c.Target))
		if !slow {
			copy(n.Block, c.Target)
		}
	case n.IsDevice():
		disk.EncodeDevice(n.Block, c.Major, c.Minor)
	}
	if (n.IsRegular() || n.IsDir() || slow) && o.w.super.Incompat&disk.IncompatExtents != 0 {
		n.Flags |= disk.InodeExtents
		n.Block = disk.EmptyExtentRoot()
	}
	if err := o.newInode(n, dir); err != nil {
		return nil, err
	}
	if err := o.putACLs(n, acl, defaults); err != nil { // before inline data, which takes the room that they leave
		return nil, err
	}
	switch {
	case n.IsDir():
		err = o.fillDir(n, dir.Ino)
	case slow:
		err = o.fillSymlink(n, c.Target)
	default:
		_, err = o.startInline(n, dir.Ino)
	}
	return n, err
}

// fillDir gives a new directory room for entries: in its inode, or a block.
func (o *op) fillDir(n *Inode, parent Ino) error {
	if inside, err := o.startInline(n, parent); err != nil || inside {
		return err
	}
	d := o.dir(n)
	_, err := d.grow(kindDirLeaf, d.makeDirBlock(parent))
	return err
}

// fillSymlink gives a new symlink a block for its target.
func (o *op) fillSymlink(n *Inode, target string) error {
	e, err := o.blocksFor(n, 0, 1, o.allocate)
	if err != nil {
		return err
	}
	p := make([]byte, o.w.super.BlockSize)
	copy(p, target)
	if err := o.writeBlock(e.Start, p); err != nil {
		return err
	}
	return o.mapBlocks(n, e)
}

// linkParent adds a subdirectory's link to a directory, or takes one away. A count that is 1 means that there are too
// many to count.
func (o *op) linkParent(dir *Inode, delta int) error {
	countless := o.w.super.ROCompat&disk.ROCompatDirNlink != 0 && dir.Has(disk.InodeIndex)
	switch {
	case delta > 0 && dir.Links >= maxLinks64k && !countless:
		return ErrManyLinks
	case dir.Links == 1 || dir.Links >= maxLinks64k-64:
		return o.editInode(dir.Ino, func(at uint32) merge.Edit {
			f := merge.Field{Off: at + disk.OffLinks, Width: 2}
			return merge.Reapply(func(p []byte) error {
				v := f.Get(p)
				switch {
				case v == 1 || delta < 0 && v <= 2:
				case delta > 0 && v >= maxLinks64k && !countless:
					return ErrManyLinks
				case delta > 0 && v >= maxLinks64k:
					v = 1
				default:
					v = uint64(int(v) + delta)
				}
				f.Put(p, v)
				return nil
			})
		})
	}
	return o.addLinks(dir, delta, 2, maxLinks64k)
}

// Link gives an inode another name.
func (w *Writable) Link(cred Cred, node, parent Node, name string) (Inode, error) {
	if err := checkName(name); err != nil {
		return Inode{}, err
	}
	var out Inode
	err := w.do(opLink, cred, func(o *op) error {
		n, err := o.inode(node)
		if err != nil {
			return err
		}
		dir, err := o.parent(parent)
		if err != nil {
			return err
		}
		switch {
		case n.IsDir(), n.Has(disk.InodeImmutable | disk.InodeAppend):
			return ErrNotPermit
		case n.Links >= maxLinks64k:
			return ErrManyLinks
		case dir.Has(disk.InodeEncrypt):
			return ErrNoKey
		case dir.Has(disk.InodeProjInherit) && dir.ProjectID != n.ProjectID:
			return ErrCross
		}
		low := uint64(2)
		if n.Links == 0 { // a file without a name gets one
			if !w.orphans.linkable(n.Ino) {
				return ErrNotExist
			}
			low = 1
			o.removeOrphan(n.Ino)
			if err := o.dependInode(n.Ino, disk.OffLinks, 2); err != nil {
				return err
			}
		}
		if err := o.addLinks(n, 1, low, maxLinks64k); err != nil {
			return err
		}
		o.reach("inode")
		if err := o.dir(dir).insert(name, n.Ino, fileType(n.Mode)); err != nil {
			return err
		}
		o.reach("entry")
		if err := o.stamp(n, disk.OffCtime); err != nil {
			return err
		}
		if err := o.stamp(dir, disk.OffMtime, disk.OffCtime); err != nil {
			return err
		}
		out, err = o.result(n.Ino)
		return err
	})
	return out, err
}
