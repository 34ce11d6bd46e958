package ext4

import (
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// FileAttr has the attributes of FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR (linux/fs.h, struct fsxattr).
type FileAttr struct {
	Xflags  uint32 // FS_XFLAG_...
	Project uint32
}

// xflags pairs the flags of inodes with those of FileAttr.
var xflags = []struct{ inode, xflag uint32 }{
	{disk.InodeImmutable, 0x8}, {disk.InodeAppend, 0x10}, {disk.InodeSync, 0x20}, {disk.InodeNoAtime, 0x40},
	{disk.InodeNoDump, 0x80}, {disk.InodeProjInherit, 0x200}, {disk.InodeDAX, 0x8000},
}

// FileAttr is the inode's flags and project.
func (n *Inode) FileAttr() FileAttr {
	a := FileAttr{Project: n.ProjectID}
	for _, x := range xflags {
		if n.Has(x.inode) {
			a.Xflags |= x.xflag
		}
	}
	return a
}

// SetFileAttr sets flags and project: all of it, or nothing. Flags that a FileAttr has no bit for stay as they are when
// the change happens.
func (w *Writable) SetFileAttr(cred Cred, node Node, a FileAttr) error {
	var mask, flags uint32
	for _, x := range xflags {
		mask |= x.inode
		if a.Xflags&x.xflag != 0 {
			flags |= x.inode
		}
	}
	return w.changeFlags(cred, node, func(now uint32) uint32 { return now&^mask | flags }, &a.Project)
}
