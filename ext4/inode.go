package ext4

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Inode is a file, directory or other node of an FS, as it was when Inode was called. Its methods may be called
// concurrently.
type Inode struct {
	disk.Inode
	Ino Ino
	fs  *FS

	// The block that the inode was read from: the next one that is read into the same memory is often in it, too.
	tableBlock block.Number
	table      []byte
}

// Inode reads an inode. A free one is ErrNotExist.
func (fs *FS) Inode(ino Ino) (*Inode, error) {
	n := new(Inode)
	if err := fs.ReadInode(n, ino); err != nil {
		return nil, err
	}
	return n, nil
}

// ReadInode is Inode into memory that the caller has at hand: a walk over a large directory allocates nothing an inode.
func (fs *FS) ReadInode(n *Inode, ino Ino) error {
	if err := fs.slot(n, ino); err != nil {
		return err
	}
	if n.Links == 0 && (n.Mode == 0 || n.Dtime != 0) && !fs.view.orphan(ino) {
		return fmt.Errorf("inode %d: %w", ino, ErrNotExist)
	}
	switch n.Mode & disk.ModeType {
	case disk.ModeRegular,
		disk.ModeDir,
		disk.ModeSymlink,
		disk.ModeChar,
		disk.ModeBlock,
		disk.ModeFIFO,
		disk.ModeSocket:
	default:
		return ondisk.Corruptf(n.where(), "mode is 0%o, which is no file type", n.Mode)
	}
	if n.IsDir() && n.Size/uint64(fs.super.BlockSize) > uint64(fs.super.Blocks) {
		return ondisk.Corruptf(
			n.where(),
			"directory of %d bytes on an image of %d blocks",
			n.Size,
			uint64(fs.super.Blocks),
		)
	}
	return nil
}

// slot reads an inode without asking whether it is in use.
func (fs *FS) slot(n *Inode, ino Ino) error {
	raw, err := fs.rawInode(n, ino)
	if err != nil {
		return err
	}
	n.Ino, n.fs = ino, fs
	return fs.decoder(n.tableBlock).DecodeInode(&n.Inode, ino, raw)
}

// rawInode finds the bytes of an inode's slot, in the block that n was read from last or in another one, which n then
// remembers.
func (fs *FS) rawInode(n *Inode, ino Ino) ([]byte, error) {
	if ino == 0 || uint32(ino) > fs.super.Inodes {
		return nil, ondisk.Corruptf(fmt.Sprintf("inode %d", ino), "the image has inodes 1 to %d", fs.super.Inodes)
	}
	if fs.fast != nil {
		if raw, ok := fs.fast.inodes[ino]; ok {
			return raw, nil
		}
	}
	g, nth, offset := fs.super.InodeBlock(ino)
	table, err := fs.inodeTable(g)
	if err != nil {
		return nil, err
	}
	if n.fs != fs || n.tableBlock != table+nth || fs.view.changing() {
		p, err := fs.block(table + nth)
		if err != nil {
			return nil, fmt.Errorf("inode %d: %w", ino, err)
		}
		n.tableBlock, n.table = table+nth, p
	}
	return n.table[offset : offset+int(fs.super.InodeSize)], nil
}

// inodeTable is where the inode table of a group begins. It is remembered, because every inode asks for it.
func (fs *FS) inodeTable(g disk.Group) (block.Number, error) {
	place := fs.tables.of(g)
	if at := place.Load(); at != 0 {
		return block.Number(at), nil
	}
	desc, err := fs.GroupDesc(g)
	if err != nil {
		return 0, err
	}
	place.Store(uint64(desc.InodeTable))
	return desc.InodeTable, nil
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

// Child reads the inode that an entry of the directory refers to. The format's own inodes other than the root are no
// files.
func (n *Inode) Child(name string, ino Ino) (*Inode, error) {
	c := new(Inode)
	if err := n.ReadChild(c, name, ino); err != nil {
		return nil, err
	}
	return c, nil
}

// ReadChild is Child into memory that the caller has at hand.
func (n *Inode) ReadChild(c *Inode, name string, ino Ino) error {
	fs := n.fs
	if ino < fs.super.FirstIno && ino != RootIno || fs.special(ino) {
		return ondisk.Corruptf(n.where(), "entry %q refers to reserved inode %d", name, ino)
	}
	err := fs.ReadInode(c, ino)
	if errors.Is(err, ErrNotExist) {
		return ondisk.Corruptf(n.where(), "entry %q refers to free inode %d", name, ino)
	}
	if err == nil && c.IsRegular() && c.Has(disk.InodeEAInode) { // many files may have the value
		return ondisk.Corruptf(n.where(), "entry %q refers to inode %d, which holds an attribute's value", name, ino)
	}
	return err
}

// special reports whether an inode with an ordinary number belongs to the file system itself.
func (fs *FS) special(ino Ino) bool {
	s := fs.super
	quota := s.ROCompat&disk.ROCompatQuota != 0 &&
		(ino == s.UserQuotaIno || ino == s.GroupQuotaIno || ino == s.ProjectQuotaIno)
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

// StatSize is the size of stat(2) in bytes. It differs from Size for encrypted symlinks only, whose target
// is shown in its no-key form.
func (n *Inode) StatSize() uint64 {
	if n.IsSymlink() && n.Has(disk.InodeEncrypt) {
		if target, err := n.Readlink(); err == nil {
			return uint64(len(target))
		}
	}
	return n.Size
}

// StatBlocks is the number of 512-byte units of stat(2). Like the kernel it counts the contents of files
// that lie in their inodes.
func (n *Inode) StatBlocks() uint64 {
	if n.IsRegular() && n.Has(disk.InodeInlineData) {
		return n.Blocks + (n.Size+511)/512
	}
	return n.Blocks
}
