package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// CheckGroups checks the checksums of all group descriptors, which reading does not depend on.
func (fs *FS) CheckGroups() error {
	for g := range fs.super.Groups() {
		if err := fs.checkGroupSum(g); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) checkGroupSum(g disk.Group) error {
	n, offset := fs.super.DescBlock(g)
	p, err := fs.block(n)
	if err != nil {
		return fmt.Errorf("group descriptor %d: %w", g, err)
	}
	return fs.super.CheckGroupDesc(g, p[offset:])
}

// CheckTables checks what a file system that is written depends on before anything is written: the descriptors of its
// groups, and that no two of its tables overlap.
func (fs *FS) CheckTables() error {
	for g := range fs.super.Groups() {
		d, err := fs.GroupDesc(g)
		if err == nil {
			err = fs.checkGroup(g, d)
		}
		if err != nil {
			return err
		}
	}
	_, err := fs.ownBlocks()
	return err
}

// checkGroup checks a descriptor before anything is written by it: its checksum, and that the tables lie on the image,
// without flex_bg in the group itself (kernel, fs/ext4/super.c: ext4_check_descriptors, which refuses to mount, too).
// That no two tables overlap is for ownBlocks to see.
func (fs *FS) checkGroup(g disk.Group, d disk.GroupDesc) error {
	s := fs.super
	if mutant.Off(mutant.GroupChecks) {
		return nil
	}
	if err := fs.checkGroupSum(g); err != nil {
		return fmt.Errorf("%w: repair the image with e2fsck", err)
	}
	first, end := s.FirstDataBlock, s.Blocks
	if s.Incompat&disk.IncompatFlexBG == 0 {
		first = s.GroupFirst(g)
		end = first + block.Number(s.GroupBlocks(g))
	}
	for _, t := range []struct {
		name string
		at   block.Number
		n    uint64
	}{
		{"block bitmap", d.BlockBitmap, 1},
		{"inode bitmap", d.InodeBitmap, 1},
		{"inode table", d.InodeTable, uint64(s.ITableBlocks())},
	} {
		if t.at < first || t.at >= end || uint64(end-t.at) < t.n {
			return ondisk.Corruptf(fmt.Sprintf("group descriptor %d", g),
				"%s at block %d, expected in blocks %d to %d: repair the image with e2fsck", t.name, uint64(t.at),
				uint64(first), uint64(end)-1)
		}
	}
	return nil
}
