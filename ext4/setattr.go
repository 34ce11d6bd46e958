package ext4

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Attr has the attributes to change; nil leaves one alone.
type Attr struct {
	Mode         *uint16 // permissions, setuid, setgid and sticky
	UID, GID     *uint32
	Size         *uint64
	Atime, Mtime *time.Time
	Explicit     bool // the caller chose one of the times: it is not the time of the call
	// the time is that of a write which the kernel took before: flags that came later do not refuse it
	Gathered        bool
	ClearPrivileges ClearPrivileges // setuid and setgid go, where the size changes
}

// SetAttr changes attributes of an inode, and returns it.
func (w *Writable) SetAttr(cred Cred, node Node, a Attr) (Inode, error) {
	var out Inode
	done := true
	err := w.do(opSetattr, cred, func(o *op) error {
		n, err := o.inode(node)
		if err != nil {
			return err
		}
		done = true
		if !a.Gathered && n.Has(disk.InodeImmutable) ||
			n.Has(disk.InodeAppend) && (a.Mode != nil || a.UID != nil || a.GID != nil || a.Size != nil || a.Explicit) {
			return ErrNotPermit
		}
		if a.Size != nil {
			if done, err = o.resize(n, *a.Size, a.ClearPrivileges); err != nil {
				return err
			}
		}
		if err := o.setOwner(n, a); err != nil {
			return err
		}
		if a.Mode != nil {
			mode := n.Mode&disk.ModeType | *a.Mode&0o7777
			if err := o.setMode(n, mode); err != nil {
				return err
			}
			if err := o.chmodACL(n, mode); err != nil {
				return err
			}
		}
		if err := o.setTimes(n, a); err != nil {
			return err
		}
		if err := o.stamp(n, disk.OffCtime); err != nil {
			return err
		}
		out, err = o.result(n.Ino)
		return err
	})
	if err == nil && !done {
		err = w.finishTruncate(node.Ino())
	}
	return out, err
}

func (o *op) resize(n *Inode, size uint64, clear ClearPrivileges) (bool, error) {
	if err := n.writableContents(); err != nil {
		return true, err
	}
	done, err := o.truncate(n, size)
	if err != nil {
		return done, err
	}
	if err := o.dropCapabilities(n); err != nil {
		return done, err
	}
	if clear {
		if err := o.clearBits(n); err != nil {
			return done, err
		}
	}
	return done, o.stamp(n, disk.OffMtime)
}

// setOwner changes owner and group. A file that may run with their rights loses its setuid and setgid bits,
// and its capabilities.
func (o *op) setOwner(n *Inode, a Attr) error {
	if a.UID == nil && a.GID == nil {
		return nil
	}
	err := o.transfer(n, func(n *Inode) {
		if a.UID != nil {
			n.UID = *a.UID
		}
		if a.GID != nil {
			n.GID = *a.GID
		}
	})
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	put := func(low, high uint32, v uint32) error {
		if err := o.setInode(n.Ino, low, le.AppendUint16(nil, uint16(v))); err != nil {
			return err
		}
		return o.setInode(n.Ino, high, le.AppendUint16(nil, uint16(v>>16)))
	}
	if a.UID != nil {
		if err := put(disk.OffUIDLow, disk.OffUIDHigh, *a.UID); err != nil {
			return err
		}
	}
	if a.GID != nil {
		if err := put(disk.OffGIDLow, disk.OffGIDHigh, *a.GID); err != nil {
			return err
		}
	}
	if n.IsDir() {
		return nil
	}
	if err := o.dropCapabilities(n); err != nil || a.Mode != nil {
		return err
	}
	return o.clearBits(n)
}

func (o *op) setMode(n *Inode, mode uint16) error {
	if mode == n.Mode {
		return o.dependInode(n.Ino, disk.OffMode, 2)
	}
	n.Mode = mode
	return o.setInode(n.Ino, disk.OffMode, binary.LittleEndian.AppendUint16(nil, mode))
}

// clearBits takes setuid away, and setgid where the group may execute: without that the bit means mandatory locking.
func (o *op) clearBits(n *Inode) error {
	mode := n.Mode &^ setuid
	if mode&0o010 != 0 {
		mode &^= setgid
	}
	if mode == n.Mode {
		return nil
	}
	return o.setMode(n, mode)
}

// dropCapabilities removes security.capability. Attributes that are damaged give a program no capabilities, and do not
// keep a file from being changed.
func (o *op) dropCapabilities(n *Inode) error {
	if !n.HasXattrs() {
		return nil
	}
	a, err := o.readXattrs(n)
	if errors.Is(err, ondisk.ErrCorrupt) {
		return nil
	}
	if err != nil ||
		findXattr(a.inside, disk.XattrSecurity, "capability") < 0 &&
			findXattr(a.outside, disk.XattrSecurity, "capability") < 0 {
		return err
	}
	return o.setXattr(n, disk.XattrSecurity, "capability", nil, 0)
}

// clearPrivileges is what a write does to a file that runs with rights of its own. Capabilities go with each write; the
// kernel sees to them itself where it gathers writes.
func (o *op) clearPrivileges(n *Inode, how *writing) error {
	if bool(how.clear) || !how.gathered {
		if err := o.dropCapabilities(n); err != nil {
			return err
		}
	}
	if !how.clear {
		return nil
	}
	return o.clearBits(n)
}

func (o *op) setTimes(n *Inode, a Attr) error {
	if a.Atime != nil {
		if err := o.stampTo(n, disk.OffAtime, *a.Atime, false); err != nil {
			return err
		}
	}
	if a.Mtime != nil {
		return o.stampTo(n, disk.OffMtime, *a.Mtime, false)
	}
	return nil
}
