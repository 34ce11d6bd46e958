package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// This file gives what is stored to tools that show it, damaged or not. Reading files does not go through it.

// Block returns a block as it is after recovery: its newest copy in the journal, or the block at home.
func (fs *FS) Block(n block.Number) ([]byte, error) { return fs.block(n) }

// Stored is where a structure lies, and its bytes.
type Stored struct {
	Block  block.Number
	Offset int // in the block
	Bytes  []byte
}

// StoredGroup finds the bytes of a group descriptor, whatever they are.
func (fs *FS) StoredGroup(g disk.Group) (Stored, error) {
	if g >= fs.super.Groups() {
		return Stored{}, fmt.Errorf("group %d: %w: the image has groups 0 to %d", g, ErrNotExist, fs.super.Groups()-1)
	}
	n, offset := fs.super.DescBlock(g)
	p, err := fs.block(n)
	if err != nil {
		return Stored{}, fmt.Errorf("group descriptor %d: %w", g, err)
	}
	return Stored{n, offset, p[offset : offset+int(fs.super.DescSize)]}, nil
}

// StoredInode finds the bytes of an inode's slot, in use or not, and decodes it as far as that is possible. problem is
// what the decoder finds wrong with it; err is that it cannot be read at all.
func (fs *FS) StoredInode(ino Ino) (n *Inode, at Stored, problem, err error) {
	if ino == 0 || uint32(ino) > fs.super.Inodes {
		return nil, at, nil, fmt.Errorf("inode %d: %w: the image has inodes 1 to %d", ino, ErrNotExist, fs.super.Inodes)
	}
	n = &Inode{}
	raw, err := fs.rawInode(n, ino)
	if err != nil {
		return nil, at, nil, err
	}
	n.Ino, n.fs = ino, fs
	g, nth, offset := fs.super.InodeBlock(ino)
	table, err := fs.inodeTable(g)
	if err != nil {
		return nil, at, nil, err
	}
	if problem = fs.super.DecodeInode(&n.Inode, ino, raw); problem != nil {
		_ = fs.super.Unsealed().DecodeInode(&n.Inode, ino, raw)
	}
	return n, Stored{table + nth, offset, raw}, problem, nil
}

// Seed is the start value of the checksums of the inode's extent and directory blocks.
func (n *Inode) Seed() disk.Seed { return n.seed() }

// InlineParts are the two places of inline data: the 60 bytes of Block, and the value of the attribute system.data.
func (n *Inode) InlineParts() (head, tail []byte, err error) { return n.inlineParts() }

// DirBlockKind says what a block of a directory is.
type DirBlockKind uint8

// The kinds.
const (
	DirLeaf DirBlockKind = iota
	HtreeRoot
	HtreeNode
)

// DirBlockKind tells the blocks of a hash tree's index from those of names, by the block's place and bytes.
func (n *Inode) DirBlockKind(b FileBlock, p []byte) DirBlockKind {
	switch {
	case n.hasIndex() && b == 0:
		return HtreeRoot
	case n.hasIndex() && binary.LittleEndian.Uint32(p) == 0 && n.spansBlock(p):
		return HtreeNode
	}
	return DirLeaf
}

// Orphans lists the inodes that recovery has to finish, those of the superblock's list first, then those of the orphan
// file. After damage the ones before it are returned with the error.
func (fs *FS) Orphans() (list, file []Ino, err error) {
	seen := map[Ino]bool{}
	for ino := fs.super.LastOrphan; ino != 0; {
		if seen[ino] {
			return list, nil, ondisk.Corruptf("list of orphans", "has a loop at inode %d", ino)
		}
		if ino < fs.super.FirstIno || uint32(ino) > fs.super.Inodes {
			return list, nil, ondisk.Corruptf("list of orphans", "has inode %d", ino)
		}
		seen[ino] = true
		list = append(list, ino)
		var n Inode
		if err := fs.slot(&n, ino); err != nil {
			return list, nil, fmt.Errorf("list of orphans: %w", err)
		}
		ino = Ino(n.Dtime)
	}
	if fs.super.Compat&disk.CompatOrphanFile == 0 {
		return list, nil, nil
	}
	file, err = fs.orphanFile()
	return list, file, err
}

// orphanFile reads the inodes in the orphan file.
func (fs *FS) orphanFile() (out []Ino, err error) {
	f := new(Inode)
	if err := fs.slot(f, fs.super.OrphanFileIno); err != nil {
		return nil, fmt.Errorf("orphan file: %w", err)
	}
	if f.Size > maxOrphanFile {
		return nil, ondisk.Corruptf("orphan file", "%d bytes, expected at most %d", f.Size, maxOrphanFile)
	}
	for b := range f.Size / uint64(fs.super.BlockSize) {
		r, err := f.Map(FileBlock(b))
		if err != nil {
			return out, fmt.Errorf("orphan file: %w", err)
		}
		if r.Kind != Data {
			return out, ondisk.Corruptf("orphan file", "block %d is a hole", b)
		}
		p, err := fs.block(r.Start)
		if err != nil {
			return out, err
		}
		list, err := fs.super.DecodeOrphanBlock(f.Ino, f.Generation, r.Start, p)
		if err != nil {
			return out, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// BlockBitmap is a copy of a group's block bitmap, a bit a cluster; one that the image leaves to be made is made.
func (fs *FS) BlockBitmap(g disk.Group) ([]byte, error) {
	d, err := fs.GroupDesc(g)
	if err != nil {
		return nil, err
	}
	uninit := d.Flags&disk.GroupBlockUninit != 0 && fs.super.HasGroupCsum()
	return fs.bitmap(d.BlockBitmap, uninit, func(p []byte) { fs.initBlocks(g, d, p) })
}

// InodeBitmap is the same of inodes.
func (fs *FS) InodeBitmap(g disk.Group) ([]byte, error) {
	d, err := fs.GroupDesc(g)
	if err != nil {
		return nil, err
	}
	uninit := d.Flags&disk.GroupInodeUninit != 0 && fs.super.HasGroupCsum()
	return fs.bitmap(d.InodeBitmap, uninit, fs.initInodes)
}

// OwnAtStart is the number of blocks at the start of a group that hold a superblock, descriptors, and blocks that are
// kept for more of them.
func (fs *FS) OwnAtStart(g disk.Group) uint64 {
	return fs.groupOverhead(g) - 2 - uint64(fs.super.ITableBlocks())
}

// TableOf names the table of the file system that a block is part of, or nothing.
func (fs *FS) TableOf(n block.Number) (string, error) {
	s := fs.super
	for g := range s.Groups() {
		if first := s.GroupFirst(g); n >= first && uint64(n-first) < fs.OwnAtStart(g) {
			return fmt.Sprintf("superblock and descriptors at the start of group %d", g), nil
		}
		d, err := fs.GroupDesc(g)
		switch {
		case err != nil:
			return "", err
		case n == d.BlockBitmap:
			return fmt.Sprintf("block bitmap of group %d", g), nil
		case n == d.InodeBitmap:
			return fmt.Sprintf("inode bitmap of group %d", g), nil
		case n >= d.InodeTable && n < d.InodeTable+block.Number(s.ITableBlocks()):
			return fmt.Sprintf("inode table of group %d", g), nil
		}
	}
	if s.Incompat&disk.IncompatMMP != 0 && n == s.MMPBlock {
		return "multiple mount protection", nil
	}
	return "", nil
}
