package ext4

import (
	"syscall"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// CheckOpen checks that a file may be opened with these flags of open(2): an immutable one is not written, one that
// only grows is opened for appending, one under verity is only read. The kernel has checked permissions.
func (n *Inode) CheckOpen(flags uint32) error {
	if n.IsRegular() && n.Has(disk.InodeEncrypt) {
		return ErrNoKey
	}
	if flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) == 0 {
		return nil
	}
	if err := n.writableContents(); err != nil {
		return err
	}
	if n.Has(disk.InodeImmutable) ||
		n.Has(disk.InodeAppend) && (flags&syscall.O_APPEND == 0 || flags&syscall.O_TRUNC != 0) {
		return ErrNotPermit
	}
	return nil
}
