package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Readlink returns a symlink's target (ext4 doc, "Symbolic Links"). Without a key the target of an encrypted one is
// given in its no-key form.
func (n *Inode) Readlink() (string, error) {
	if !n.IsSymlink() {
		return "", fmt.Errorf("inode %d is no symlink", n.Ino)
	}
	target, err := n.linkBytes()
	if err != nil {
		return "", err
	}
	if n.Has(disk.InodeEncrypt) {
		if len(target) < 2 || int(binary.LittleEndian.Uint16(target)) > len(target)-2 {
			return "", ondisk.Corruptf(n.where(), "encrypted symlink of %d bytes", len(target))
		}
		return disk.NoKeyName(0, 0, target[2:2+binary.LittleEndian.Uint16(target)]), nil
	}
	if i := bytes.IndexByte(target, 0); i >= 0 {
		target = target[:i]
	}
	if len(target) == 0 {
		return "", ondisk.Corruptf(n.where(), "symlink without a target")
	}
	return string(target), nil
}

func (n *Inode) linkBytes() ([]byte, error) {
	if n.fs.super.FastSymlink(&n.Inode) {
		if n.Size >= uint64(len(n.Block)) {
			return nil, ondisk.Corruptf(n.where(), "symlink of %d bytes has no blocks", n.Size)
		}
		return n.Block[:n.Size], nil
	}
	return n.readAll(int(n.fs.super.BlockSize))
}
