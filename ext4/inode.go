package ext4

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ErrNotExist says that there is no such inode, name or attribute.
var ErrNotExist = errors.New("does not exist")

// ErrNoKey says that contents are encrypted, and varve has no key.
var ErrNoKey = errors.New("encrypted, and the key is not available")

// Inode is a file, directory or other node of an FS, as it was when Inode was called. Its methods may be called
// concurrently.
type Inode struct {
	disk.Inode
	Ino Ino
	fs  *FS
}

// Inode reads an inode. A free one is ErrNotExist.
func (fs *FS) Inode(ino Ino) (*Inode, error) {
	n, err := fs.slot(ino)
	if err != nil {
		return nil, err
	}
	if n.Links == 0 && (n.Mode == 0 || n.Dtime != 0) {
		return nil, fmt.Errorf("inode %d: %w", ino, ErrNotExist)
	}
	switch n.Mode & disk.ModeType {
	case disk.ModeRegular, disk.ModeDir, disk.ModeSymlink, disk.ModeChar, disk.ModeBlock, disk.ModeFIFO, disk.ModeSocket:
	default:
		return nil, ondisk.Corruptf(n.where(), "mode is 0%o, which is no file type", n.Mode)
	}
	if n.IsDir() && n.Size/uint64(fs.super.BlockSize) > uint64(fs.super.Blocks) {
		return nil, ondisk.Corruptf(n.where(), "directory of %d bytes on an image of %d blocks", n.Size, uint64(fs.super.Blocks))
	}
	return n, nil
}

// slot reads an inode without asking whether it is in use.
func (fs *FS) slot(ino Ino) (*Inode, error) {
	raw, err := fs.rawInode(ino)
	if err != nil {
		return nil, err
	}
	n := &Inode{Ino: ino, fs: fs}
	if n.Inode, err = fs.super.DecodeInode(ino, raw); err != nil {
		return nil, err
	}
	return n, nil
}

// rawInode reads the bytes of an inode's slot.
func (fs *FS) rawInode(ino Ino) ([]byte, error) {
	if ino == 0 || uint32(ino) > fs.super.Inodes {
		return nil, ondisk.Corruptf(fmt.Sprintf("inode %d", ino), "the image has inodes 1 to %d", fs.super.Inodes)
	}
	if fs.fast != nil {
		if raw, ok := fs.fast.inodes[ino]; ok {
			return raw, nil
		}
	}
	g, nth, offset := fs.super.InodeBlock(ino)
	desc, err := fs.GroupDesc(g)
	if err != nil {
		return nil, err
	}
	p, err := fs.block(desc.InodeTable + nth)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return p[offset : offset+int(fs.super.InodeSize)], nil
}

// GroupDesc reads the descriptor of a block group.
func (fs *FS) GroupDesc(g disk.Group) (disk.GroupDesc, error) {
	n, offset := fs.super.DescBlock(g)
	p, err := fs.block(n)
	if err != nil {
		return disk.GroupDesc{}, fmt.Errorf("group descriptor %d: %w", g, err)
	}
	return fs.super.DecodeGroupDesc(g, p[offset:])
}

// Child reads the inode that an entry of the directory refers to. The format's own inodes other than the root are no files.
func (n *Inode) Child(name string, ino Ino) (*Inode, error) {
	fs := n.fs
	if ino < fs.super.FirstIno && ino != RootIno || fs.special(ino) {
		return nil, ondisk.Corruptf(n.where(), "entry %q refers to reserved inode %d", name, ino)
	}
	c, err := fs.Inode(ino)
	if errors.Is(err, ErrNotExist) {
		return nil, ondisk.Corruptf(n.where(), "entry %q refers to free inode %d", name, ino)
	}
	return c, err
}

// special reports whether an inode with an ordinary number belongs to the file system itself.
func (fs *FS) special(ino Ino) bool {
	s := fs.super
	quota := s.ROCompat&disk.ROCompatQuota != 0 && (ino == s.UserQuotaIno || ino == s.GroupQuotaIno || ino == s.ProjectQuotaIno)
	orphans := s.Compat&disk.CompatOrphanFile != 0 && ino == s.OrphanFileIno
	return quota || orphans || ino == s.JournalIno
}

// where names the inode in errors.
func (n *Inode) where() string { return fmt.Sprintf("inode %d", n.Ino) }

// wrap adds the inode to an error of one of its structures.
func (n *Inode) wrap(err error) error { return fmt.Errorf("inode %d: %w", n.Ino, err) }

// seed is the start value of the checksums of the inode's extent and directory blocks.
func (n *Inode) seed() disk.Seed { return n.fs.super.Seed().Inode(n.Ino, n.Generation) }

// FS is the file system that the inode belongs to.
func (n *Inode) FS() *FS { return n.fs }

// StatSize is what stat(2) gives as the size in bytes. It differs from Size for encrypted symlinks only, whose target
// is shown in its no-key form.
func (n *Inode) StatSize() uint64 {
	if n.IsSymlink() && n.Has(disk.InodeEncrypt) {
		if target, err := n.Readlink(); err == nil {
			return uint64(len(target))
		}
	}
	return n.Size
}

// StatBlocks is what stat(2) gives as the number of 512-byte units. Like the kernel it counts the contents of files
// that lie in their inodes.
func (n *Inode) StatBlocks() uint64 {
	if n.IsRegular() && n.Has(disk.InodeInlineData) {
		return n.Blocks + (n.Size+511)/512
	}
	return n.Blocks
}
