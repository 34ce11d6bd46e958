package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ErrShrink says that a file system was to be made smaller.
var ErrShrink = errors.New("varve makes file systems larger only: to make one smaller, use resize2fs")

// Resizer makes a file system larger that is not mounted, over the store that has its journal. Each step is one
// transaction, after which the file system is whole: it fills the last group, or adds groups whose descriptors lie in
// one block.
//
//	zeros of inode tables ─▶ bitmaps, copies of superblock and descriptors in new groups (ordered) ─▶ one transaction:
//	descriptors, blocks that were kept for descriptors, copies in old groups, superblock
//
// Nothing refers to what lies behind the old end until the transaction. All blocks are sealed as they are written: the
// store has no sealer.
type Resizer struct {
	store  Store
	home   ResizeHome
	super  *disk.Superblock // as of the last step
	target block.Number
	kept   float64 // share of the blocks that is reserved for root
	free   uint64  // clusters
	inodes uint32  // free
	now    func() time.Time
}

// ResizeHome is the device of a file system that grows.
type ResizeHome interface {
	io.ReaderAt
	io.WriterAt
}

// leastOfGroup is the size of the smallest group at the end, beside its tables (resize2fs: adjust_fs_info).
const leastOfGroup = 50

// stepGroups bounds the groups of one step.
const stepGroups = 64

// PlanResize checks that a file system can be made so many blocks large, and returns how many it gets: whole clusters,
// and no group at the end without room for files.
func (fs *FS) PlanResize(blocks uint64) (block.Number, error) {
	s := fs.super
	unsupported := func(what string) error {
		return &ondisk.UnsupportedError{Feature: what, Advice: "resize2fs may do it"}
	}
	switch {
	case s.State&disk.StateErrors != 0 || s.State&disk.StateClean == 0:
		return 0, errors.New("the file system was not unmounted cleanly, or has errors: run e2fsck -f first")
	case s.Compat&disk.CompatSparseSuper2 != 0:
		return 0, unsupported("making a file system larger with sparse_super2")
	case s.Compat&disk.CompatResizeInode == 0 && s.ReservedGDTBlocks != 0:
		return 0, ondisk.Corruptf("superblock", "%d blocks are kept for descriptors, without resize_inode",
			s.ReservedGDTBlocks)
	}
	z := *s
	z.Blocks = block.Number(blocks) / block.Number(s.ClusterBlocks) * block.Number(s.ClusterBlocks)
	if blocks > 1<<48 || s.Incompat&disk.Incompat64Bit == 0 && z.Blocks >= 1<<32 {
		return 0, unsupported(fmt.Sprintf("%d blocks without the feature 64bit", blocks))
	}
	if z.Blocks > s.Blocks {
		z.Blocks = max(z.Blocks-tooShort(s, z), s.Blocks)
	}
	if z.Blocks < s.Blocks {
		return 0, fmt.Errorf("%d blocks are less than the %d that it has: %w", blocks, uint64(s.Blocks), ErrShrink)
	}
	if n := uint64(z.Groups()) * uint64(s.InodesPerGroup); n >= 1<<32 {
		return 0, fmt.Errorf("%w: %d inodes would be too many: make it smaller", ErrInvalid, n)
	}
	if most := mostGroups(s); uint64(z.Groups()) > most {
		end := s.GroupFirst(disk.Group(most))
		return 0, unsupported(fmt.Sprintf("more than %d blocks (%d bytes) without more room for group descriptors",
			uint64(end), s.BlockSize.Offset(end)))
	}
	return z.Blocks, nil
}

// tooShort is how many blocks the last group has, if that is too few for its tables and some files.
func tooShort(s *disk.Superblock, z disk.Superblock) block.Number {
	per := s.DescsPerBlock()
	more := (z.Groups()+per-1)/per - (s.Groups()+per-1)/per
	z.ReservedGDTBlocks -= uint16(min(uint32(more), uint32(z.ReservedGDTBlocks)))
	last := z.Groups() - 1
	if n := z.GroupBlocks(last); uint64(n) < z.HeadBlocks(last)+2+uint64(z.ITableBlocks())+leastOfGroup {
		return block.Number(n)
	}
	return 0
}

// mostGroups is how many groups there is room for descriptors of.
func mostGroups(s *disk.Superblock) uint64 {
	if s.Incompat&disk.IncompatMetaBG != 0 {
		return 1<<32 - 2
	}
	per := uint64(s.DescsPerBlock())
	return ((uint64(s.Groups())+per-1)/per + uint64(s.ReservedGDTBlocks)) * per
}

// NewResizer has a file system grow to so many blocks, which PlanResize gave.
func NewResizer(base *FS, store Store, home ResizeHome, target block.Number, now func() time.Time) (*Resizer, error) {
	s := base.super
	r := &Resizer{store: store, home: home, super: s, target: target,
		kept: float64(s.ReservedBlocks) / float64(s.Blocks), now: now}
	for g := range s.Groups() {
		d, err := base.GroupDesc(g)
		if err != nil {
			return nil, err
		}
		r.free += uint64(d.FreeBlocks)
		r.inodes += d.FreeInodes
	}
	return r, nil
}

// Superblock is the superblock as of the last step.
func (r *Resizer) Superblock() *disk.Superblock { return r.super }

// Step makes the file system larger by one transaction, and reports whether it has its size then.
func (r *Resizer) Step(ctx context.Context) (done bool, err error) {
	if r.super.Blocks >= r.target {
		return true, nil
	}
	var p *resizeStep
	_, err = r.store.Update(ctx, func(tx Tx) (err error) {
		p = r.begin(tx)
		if p.now.Groups() == p.was.Groups() {
			err = p.fillGroup()
		} else {
			err = p.addGroups()
		}
		if err == nil {
			err = p.finish()
		}
		return err
	})
	if err != nil {
		return false, err
	}
	r.super, r.free, r.inodes = p.now, p.free, p.inodes
	return r.super.Blocks >= r.target, nil
}

// next is how many blocks the file system has after the next step.
func (r *Resizer) next() block.Number {
	s := r.super
	g := s.Groups()
	if end := s.GroupFirst(g); end > s.Blocks { // the last one is short
		return min(end, r.target)
	}
	per := s.DescsPerBlock()
	return min(s.GroupFirst(min((g/per+1)*per, g+stepGroups)), r.target)
}
