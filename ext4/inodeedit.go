package ext4

import (
	"encoding/binary"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// slot is the place of an inode: its block, and the byte in it.
func (o *op) slot(ino Ino) (block.Number, uint32, error) {
	g, nth, offset := o.w.super.InodeBlock(ino)
	table, err := o.fs.inodeTable(g)
	return table + nth, uint32(offset), err
}

// editInode makes an edit of an inode's slot. make gets the slot's offset in the block.
func (o *op) editInode(ino Ino, make func(at uint32) merge.Edit) error {
	n, at, err := o.slot(ino)
	if err != nil {
		return err
	}
	g := uint64(ino-1) / uint64(o.w.super.InodesPerGroup)
	return o.edit(n, kindInodes, g, make(at))
}

// setInode sets bytes of an inode's slot.
func (o *op) setInode(ino Ino, off uint32, data []byte) error {
	return o.editInode(ino, func(at uint32) merge.Edit { return merge.Set(at+off, data) })
}

// dependInode makes the operation depend on bytes of an inode's slot.
func (o *op) dependInode(ino Ino, off, length uint32) error {
	n, at, err := o.slot(ino)
	if err != nil {
		return err
	}
	return o.tx.Depend(n, merge.Range{Off: at + off, Len: length})
}

// dependMap makes the operation depend on where the file's blocks are: the root of its tree, and its flags. The nodes
// below are depended on as they are read.
func (o *op) dependMap(n *Inode) error {
	if n.hasPointers() && o.w.super.ClusterBlocks > 1 {
		return n.noPointers()
	}
	if err := o.dependInode(n.Ino, disk.OffBlock, disk.BlockBytes); err != nil {
		return err
	}
	return o.dependInode(n.Ino, disk.OffFlags, 4)
}

// checkNotRemoved checks that a directory is not removed until the operation commits.
func (o *op) checkNotRemoved(dir *Inode) error {
	if dir.Links == 0 {
		return ErrNotExist
	}
	if mutant.Off(mutant.D1) {
		return nil
	}
	return o.editInode(dir.Ino, func(at uint32) merge.Edit {
		f := merge.Field{Off: at + disk.OffLinks, Width: 2}
		return merge.Check(func(p []byte) bool { return f.Get(p) > 0 })
	})
}

// stamp sets times of an inode to now. Two operations that do so at a time both stand: the later time remains.
func (o *op) stamp(n *Inode, lows ...int) error {
	for _, low := range lows {
		if timeAt(n, low).Equal(o.now) {
			continue
		}
		if err := o.stampTo(n, low, o.now, true); err != nil {
			return err
		}
	}
	return nil
}

// extraOf are the words with the rest of each time.
var extraOf = map[int]int{
	disk.OffAtime: disk.OffAtimeExtra,
	disk.OffMtime: disk.OffMtimeExtra,
	disk.OffCtime: disk.OffCtimeExtra,
}

func timeAt(n *Inode, low int) time.Time {
	switch low {
	case disk.OffAtime:
		return n.Atime
	case disk.OffMtime:
		return n.Mtime
	}
	return n.Ctime
}

// stampTo sets one time of an inode. raise says that a later time, which another transaction sets meanwhile, may stay.
func (o *op) stampTo(n *Inode, low int, t time.Time, raise bool) error {
	extra := extraOf[low]
	wide := n.HasField(extra)
	sec, more := disk.PackTime(t, wide)
	if raise && timeAt(n, low).After(t) {
		raise = false // set to the future by hand
	}
	if raise {
		return o.editInode(n.Ino, func(at uint32) merge.Edit {
			lo := merge.Field{Off: at + uint32(low), Width: 4, Signed: true}
			if !wide {
				return merge.Max([]merge.Field{lo}, []uint64{uint64(sec)})
			}
			hi := at + uint32(extra)
			return merge.Max([]merge.Field{{Off: hi, Width: 4, Bits: 2}, lo, {Off: hi, Width: 4, Shift: 2}},
				[]uint64{uint64(more & 3), uint64(sec), uint64(more >> 2)})
		})
	}
	if err := o.setWord(n.Ino, uint32(low), sec); err != nil || !wide {
		return err
	}
	return o.setWord(n.Ino, uint32(extra), more)
}

// setWord sets a field of four bytes.
func (o *op) setWord(ino Ino, off, v uint32) error {
	return o.setInode(ino, off, binary.LittleEndian.AppendUint32(nil, v))
}

// addLinks adds to an inode's link count, within bounds.
func (o *op) addLinks(n *Inode, delta int, low, high uint64) error {
	err := o.editInode(n.Ino, func(at uint32) merge.Edit {
		return merge.Add(merge.Field{Off: at + disk.OffLinks, Width: 2}, int64(delta), low, high)
	})
	if err == nil {
		n.Links = uint16(int(n.Links) + delta)
	}
	return err
}

// addClusters adds clusters to an inode's count of blocks.
func (o *op) addClusters(n *Inode, delta int64) error {
	return o.addUnits(n, delta*int64(o.w.super.ClusterSize())/512)
}

// addUnits adds whole blocks, in units of 512 bytes, to an inode's count of blocks.
func (o *op) addUnits(n *Inode, delta int64) error {
	if delta == 0 {
		return nil
	}
	if err := o.charge(n, delta*512, 0); err != nil {
		return err
	}
	n.Blocks = uint64(int64(n.Blocks) + delta)
	if n.Has(disk.InodeHugeFile) {
		delta /= int64(o.w.super.BlockSize) / 512
	}
	return o.editInode(n.Ino, func(at uint32) merge.Edit {
		lo := merge.Field{Off: at + disk.OffBlocksLow, Width: 4}
		hi := merge.Field{Off: at + disk.OffBlocksHigh, Width: 2}
		if o.w.super.ROCompat&disk.ROCompatHugeFile == 0 || n.Blocks < 1<<31 { // the upper half stays 0
			return merge.Add(lo, delta, 0, 1<<32-1)
		}
		return merge.Reapply(func(p []byte) error {
			v := int64(hi.Get(p)<<32|lo.Get(p)) + delta
			if v < 0 || v >= 1<<48 {
				return merge.ErrBounds
			}
			lo.Put(p, uint64(v))
			hi.Put(p, uint64(v)>>32)
			return nil
		})
	})
}

// setSize sets a file's size. grow says that a greater size, which another transaction sets meanwhile, may stay; a
// smaller one may not: what it cuts off may still lie there, and would show.
func (o *op) setSize(n *Inode, size uint64, grow bool) error {
	old := n.Size
	n.Size = size
	if err := o.useLargeFile(size); err != nil {
		return err
	}
	if grow {
		err := o.editInode(n.Ino, func(at uint32) merge.Edit {
			low := merge.Field{Off: at + disk.OffSizeLow, Width: 4}
			high := merge.Field{Off: at + disk.OffSizeHigh, Width: 4}
			return merge.Check(func(p []byte) bool { return high.Get(p)<<32|low.Get(p) >= old })
		})
		if err != nil {
			return err
		}
		return o.editInode(n.Ino, func(at uint32) merge.Edit {
			return merge.Max(
				[]merge.Field{{Off: at + disk.OffSizeHigh, Width: 4}, {Off: at + disk.OffSizeLow, Width: 4}},
				[]uint64{size >> 32, size & (1<<32 - 1)},
			)
		})
	}
	if err := o.setWord(n.Ino, disk.OffSizeLow, uint32(size)); err != nil {
		return err
	}
	return o.setWord(n.Ino, disk.OffSizeHigh, uint32(size>>32))
}
