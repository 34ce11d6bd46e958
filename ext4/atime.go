package ext4

import (
	"time"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// NeedsTouch is the rule of relatime: the time of access is not after the last change, or older than a day.
func (w *Writable) NeedsTouch(n *Inode) bool {
	return !w.opts.NoAtime && !n.Has(disk.InodeNoAtime|disk.InodeImmutable) && (w.opts.StrictAtime ||
		!n.Atime.After(n.Mtime) || !n.Atime.After(n.Ctime) || w.opts.Now().Sub(n.Atime) >= 24*time.Hour)
}

// Touch sets the time of access, where NeedsTouch asks for it.
func (w *Writable) Touch(cred Cred, node Node) error {
	stale := false
	err := w.View(func(fs *FS) error {
		var n Inode
		err := fs.ReadNode(&n, node)
		stale = err == nil && w.NeedsTouch(&n)
		return err
	})
	if err != nil || !stale {
		return err
	}
	return w.do(opAtime, cred, func(o *op) error {
		n, err := o.inode(node)
		if err != nil {
			return err
		}
		return o.stamp(n, disk.OffAtime)
	})
}
